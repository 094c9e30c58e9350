package awssim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type xmlVolume struct {
	ID          string                `xml:"volumeId"`
	SizeGiB     int64                 `xml:"size"`
	SnapshotID  string                `xml:"snapshotId"`
	Zone        string                `xml:"availabilityZone"`
	ZoneID      string                `xml:"availabilityZoneId"`
	State       string                `xml:"status"`
	Created     xmlTime               `xml:"createTime"`
	Attachments xmlSet[xmlAttachment] `xml:"attachmentSet"`
	Tags        xmlSet[xmlTag]        `xml:"tagSet"`
	Type        string                `xml:"volumeType"`
	IOPS        int64                 `xml:"iops,omitempty"`
	Throughput  int64                 `xml:"throughput,omitempty"`
	InitRate    int64                 `xml:"volumeInitializationRate,omitempty"`
	Encrypted   bool                  `xml:"encrypted"`
	KMSKeyID    string                `xml:"kmsKeyId,omitempty"`
	MultiAttach bool                  `xml:"multiAttachEnabled"`
}

type xmlAttachment struct {
	VolumeID            string  `xml:"volumeId"`
	InstanceID          string  `xml:"instanceId"`
	Device              string  `xml:"device"`
	State               string  `xml:"status"`
	Time                xmlTime `xml:"attachTime"`
	DeleteOnTermination bool    `xml:"deleteOnTermination"`
}

// volumeFilters are the filters of DescribeVolumes (API reference).
func volumeFilters() []string {
	return []string{
		"attachment.attach-time", "attachment.delete-on-termination", "attachment.device", "attachment.instance-id",
		"attachment.status", "availability-zone", "availability-zone-id", "create-time", "encrypted", "multi-attach-enabled",
		"size", "snapshot-id", "status", "tag:", "tag-key", "volume-id", "volume-type",
	}
}

func (s *Server) describeVolumes(c *call) (any, *apiError) {
	page, e := s.formPage(c, "VolumeId")
	if e != nil {
		return nil, e
	}
	filters, e := formFilters(c.form, volumeFilters())
	if e != nil {
		return nil, e
	}
	volumes, token, e := s.pickVolumes(c, page)
	if e != nil {
		return nil, e
	}
	var answer struct {
		Volumes   xmlSet[xmlVolume] `xml:"volumeSet"`
		NextToken string            `xml:"nextToken,omitempty"`
	}
	answer.NextToken = token
	for _, v := range volumes {
		if x := s.volumeXML(v); matchAll(filters, x.field) {
			answer.Volumes.Items = append(answer.Volumes.Items, x)
		}
		v.look()
	}
	return answer, nil
}

// pickVolumes returns the volumes that a call names, or a page of them.
func (s *Server) pickVolumes(c *call, page ec2Page) (volumes []*volume, token string, e *apiError) {
	if ids := formList(c.form, "VolumeId"); len(ids) > 0 {
		volumes, e = s.findVolumes(ids)
		return volumes, "", e
	}
	s.settleVolumes()
	if a := c.account(); a != "" && a != s.cfg.Account {
		return nil, "", nil // all are this account's
	}
	items, token := cut(page, s.ec2.volumes, func(v *volume) string { return fmt.Sprintf("%016x", v.seq) })
	for _, v := range items {
		if s.see(v) {
			volumes = append(volumes, v)
		}
	}
	return volumes, token, nil
}

func (s *Server) findVolumes(ids []string) ([]*volume, *apiError) {
	var found []*volume
	var missing []string
	for _, id := range ids {
		v, e := s.findVolume(id)
		switch {
		case e != nil && e.Code != "InvalidVolume.NotFound":
			return nil, e
		case e != nil:
			missing = append(missing, id)
		case !slices.Contains(found, v):
			found = append(found, v)
		}
	}
	switch len(missing) {
	case 0:
		return found, nil
	case 1:
		return nil, ec2Error("InvalidVolume.NotFound", "The volume '%s' does not exist.", missing[0])
	default:
		return nil, ec2Error("InvalidVolume.NotFound", "The volumes '%s' do not exist.", strings.Join(missing, ", "))
	}
}

func (s *Server) volumeXML(v *volume) xmlVolume {
	x := xmlVolume{
		ID: v.id, SizeGiB: v.sizeGiB, SnapshotID: v.snapshotID, Zone: v.zone, ZoneID: v.zoneID, State: v.state,
		Created: xmlTime{v.created}, Tags: xmlTags(v.tags.view()), Type: v.kind.name, IOPS: v.kind.iops,
		Throughput: v.kind.throughput, InitRate: v.kind.initRate, Encrypted: v.encrypted, KMSKeyID: v.kmsKeyID,
	}
	if v.state == volGone {
		x.State = volDeleting
	}
	if v.attached != nil {
		x.Attachments.Items = []xmlAttachment{v.attachmentXML()}
	}
	return x
}

func (v *volume) attachmentXML() xmlAttachment {
	a := v.attached
	return xmlAttachment{v.id, a.instance, a.device, a.state, xmlTime{a.at}, v.root}
}

func (x xmlVolume) field(name string) []string {
	switch name {
	case "availability-zone":
		return []string{x.Zone}
	case "availability-zone-id":
		return []string{x.ZoneID}
	case "create-time":
		return []string{x.Created.UTC().Format("2006-01-02T15:04:05.000Z")}
	case "encrypted":
		return []string{strconv.FormatBool(x.Encrypted)}
	case "multi-attach-enabled":
		return []string{strconv.FormatBool(x.MultiAttach)}
	case "size":
		return []string{strconv.FormatInt(x.SizeGiB, 10)}
	case "snapshot-id":
		return []string{x.SnapshotID}
	case "status":
		return []string{x.State}
	case "volume-id":
		return []string{x.ID}
	case "volume-type":
		return []string{x.Type}
	}
	if sub, ok := strings.CutPrefix(name, "attachment."); ok {
		var values []string
		for _, a := range x.Attachments.Items {
			values = append(values, a.field(sub))
		}
		return values
	}
	return tagFields(tagMap(x.Tags), name)
}

func (a xmlAttachment) field(name string) string {
	switch name {
	case "attach-time":
		return a.Time.UTC().Format("2006-01-02T15:04:05.000Z")
	case "delete-on-termination":
		return strconv.FormatBool(a.DeleteOnTermination)
	case "device":
		return a.Device
	case "instance-id":
		return a.InstanceID
	default:
		return a.State
	}
}

type xmlVolumeStatus struct {
	ID     string `xml:"volumeId"`
	Zone   string `xml:"availabilityZone"`
	Status string `xml:"volumeStatus>status"`
}

func (s *Server) describeVolumeStatus(c *call) (any, *apiError) {
	page, e := s.formPage(c, "VolumeId")
	if e != nil {
		return nil, e
	}
	volumes, token, e := s.pickVolumes(c, page)
	if e != nil {
		return nil, e
	}
	var answer struct {
		Statuses  xmlSet[xmlVolumeStatus] `xml:"volumeStatusSet"`
		NextToken string                  `xml:"nextToken,omitempty"`
	}
	answer.NextToken = token
	for _, v := range volumes {
		status := "ok"
		switch v.state {
		case volCreating:
			status = "insufficient-data"
		case volError:
			status = "impaired"
		}
		answer.Statuses.Items = append(answer.Statuses.Items, xmlVolumeStatus{v.id, v.zone, status})
	}
	return answer, nil
}
