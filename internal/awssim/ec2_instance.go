package awssim

import (
	"fmt"
	"strings"
	"time"
)

// ec2Instance is a running instance.
type ec2Instance struct {
	id, zone string
	seq      uint64
	tags     tagHistory
}

func (i *ec2Instance) resourceID() string   { return i.id }
func (i *ec2Instance) resourceType() string { return "instance" }
func (i *ec2Instance) ownTags() *tagHistory { return &i.tags }

// AddInstance adds a running instance, besides the one that IMDS speaks of.
func (s *Server) AddInstance(id, zone string) error {
	if e := checkID("i", "instanceId", id); e != nil {
		return fmt.Errorf("add instance %s: %w", id, e)
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	if s.ec2.byID[id] != nil {
		return fmt.Errorf("add instance %s: it exists", id)
	}
	s.ec2.seq++
	i := &ec2Instance{id: id, zone: zone, seq: s.ec2.seq, tags: newTagHistory(nil)}
	s.ec2.instances = append(s.ec2.instances, i)
	s.ec2.byID[id] = i
	return nil
}

func (s *Server) findInstance(id string) (*ec2Instance, *apiError) {
	if e := checkID("i", "instanceId", id); e != nil {
		return nil, e
	}
	i, ok := s.ec2.byID[id].(*ec2Instance)
	if !ok {
		return nil, ec2Error("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	return i, nil
}

type xmlBlockDevice struct {
	Device              string  `xml:"deviceName"`
	VolumeID            string  `xml:"ebs>volumeId"`
	State               string  `xml:"ebs>status"`
	Time                xmlTime `xml:"ebs>attachTime"`
	DeleteOnTermination bool    `xml:"ebs>deleteOnTermination"`
}

// blockDevices lists an instance's volumes, which have been looked at by that.
func (s *Server) blockDevices(instance string) xmlSet[xmlBlockDevice] {
	s.settleVolumes()
	var set xmlSet[xmlBlockDevice]
	for _, v := range s.ec2.volumes {
		if a := v.attached; a != nil && a.instance == instance {
			set.Items = append(set.Items, xmlBlockDevice{a.device, v.id, a.state, xmlTime{a.at}, v.root})
			v.look()
		}
	}
	return set
}

func (s *Server) describeInstanceAttribute(c *call) (any, *apiError) {
	if e := required(c.form, "InstanceId", "Attribute"); e != nil {
		return nil, e
	}
	i, e := s.findInstance(c.form.Get("InstanceId"))
	if e != nil {
		return nil, e
	}
	if a := c.form.Get("Attribute"); a != "blockDeviceMapping" {
		return nil, ec2Error("UnsupportedOperation", "Of an instance's attributes, only blockDeviceMapping is simulated, not %s.", a)
	}
	return struct {
		ID      string                 `xml:"instanceId"`
		Devices xmlSet[xmlBlockDevice] `xml:"blockDeviceMapping"`
	}{i.id, s.blockDevices(i.id)}, nil
}

type xmlInstance struct {
	ID         string                 `xml:"instanceId"`
	Type       string                 `xml:"instanceType"`
	StateCode  int                    `xml:"instanceState>code"`
	State      string                 `xml:"instanceState>name"`
	Zone       string                 `xml:"placement>availabilityZone"`
	Launched   xmlTime                `xml:"launchTime"`
	Arch       string                 `xml:"architecture"`
	RootType   string                 `xml:"rootDeviceType"`
	RootDevice string                 `xml:"rootDeviceName"`
	Devices    xmlSet[xmlBlockDevice] `xml:"blockDeviceMapping"`
	Tags       xmlSet[xmlTag]         `xml:"tagSet"`
}

type xmlReservation struct {
	ID        string              `xml:"reservationId"`
	OwnerID   string              `xml:"ownerId"`
	Instances xmlSet[xmlInstance] `xml:"instancesSet"`
}

func (s *Server) describeInstances(c *call) (any, *apiError) {
	page, e := s.formPage(c, "InstanceId")
	if e != nil {
		return nil, e
	}
	filters, e := formFilters(c.form, []string{"availability-zone", "instance-id", "instance-state-name", "tag:", "tag-key"})
	if e != nil {
		return nil, e
	}
	candidates := s.ec2.instances
	if ids := formList(c.form, "InstanceId"); len(ids) > 0 {
		candidates = nil
		for _, id := range ids {
			i, e := s.findInstance(id)
			if e != nil {
				return nil, e
			}
			candidates = append(candidates, i)
		}
	}
	items, token := cut(page, candidates, func(i *ec2Instance) string { return fmt.Sprintf("%016x", i.seq) })
	var answer struct {
		Reservations xmlSet[xmlReservation] `xml:"reservationSet"`
		NextToken    string                 `xml:"nextToken,omitempty"`
	}
	answer.NextToken = token
	for _, i := range items {
		x := s.instanceXML(i)
		if matchAll(filters, x.field) {
			answer.Reservations.Items = append(answer.Reservations.Items, xmlReservation{
				ID: "r-" + strings.TrimPrefix(i.id, "i-"), OwnerID: s.cfg.Account, Instances: xmlSet[xmlInstance]{[]xmlInstance{x}},
			})
		}
		i.tags.look()
	}
	return answer, nil
}

func (s *Server) instanceXML(i *ec2Instance) xmlInstance {
	return xmlInstance{
		ID: i.id, Type: "m6i.large", StateCode: 16, State: "running", Zone: i.zone,
		Launched: xmlTime{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, Arch: "x86_64", RootType: "ebs", RootDevice: "/dev/xvda",
		Devices: s.blockDevices(i.id), Tags: xmlTags(i.tags.view()),
	}
}

func (x xmlInstance) field(name string) []string {
	switch name {
	case "availability-zone":
		return []string{x.Zone}
	case "instance-id":
		return []string{x.ID}
	case "instance-state-name":
		return []string{x.State}
	}
	return tagFields(tagMap(x.Tags), name)
}
