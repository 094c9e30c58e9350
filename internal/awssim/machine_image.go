package awssim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ImageSpec describes a machine image (AMI).
type ImageSpec struct {
	ID        string // default: a new one
	Name      string
	Snapshots []string // that its block devices are made of, the root device first
	OwnerID   string   // default: this account. Others' are public.
	Disabled  bool     // it is not listed without IncludeDisabled
	Tags      map[string]string
}

type machineImage struct {
	ImageSpec
	seq  uint64
	tags tagHistory
}

func (i *machineImage) resourceID() string   { return i.ID }
func (i *machineImage) resourceType() string { return "image" }
func (i *machineImage) ownTags() *tagHistory { return &i.tags }

// AddMachineImage adds a machine image and returns its id. Its snapshots need not
// be there: another account's are not.
func (s *Server) AddMachineImage(spec ImageSpec) (string, error) {
	for _, id := range spec.Snapshots {
		if e := checkID("snap", "snapshotId", id); e != nil {
			return "", fmt.Errorf("add a machine image: %w", e)
		}
	}
	e := &s.ec2
	e.mu.Lock()
	defer e.mu.Unlock()
	id, seq := e.newID("ami")
	if spec.ID == "" {
		spec.ID = id
	}
	if e := checkID("ami", "imageId", spec.ID); e != nil {
		return "", fmt.Errorf("add a machine image: %w", e)
	}
	if spec.Name == "" {
		spec.Name = "image-" + spec.ID
	}
	if spec.OwnerID == "" {
		spec.OwnerID = s.cfg.Account
	}
	if _, taken := e.byID[spec.ID]; taken || e.closed {
		return "", fmt.Errorf("add machine image %s: the id is taken or the simulator is closed", spec.ID)
	}
	spec.Snapshots = slices.Clone(spec.Snapshots)
	image := &machineImage{ImageSpec: spec, seq: seq, tags: newTagHistory(maps.Clone(spec.Tags))}
	e.machineImages = append(e.machineImages, image)
	e.byID[spec.ID] = image
	return spec.ID, nil
}

type xmlImage struct {
	ID      string                  `xml:"imageId"`
	Name    string                  `xml:"name"`
	State   string                  `xml:"imageState"`
	OwnerID string                  `xml:"imageOwnerId"`
	Public  bool                    `xml:"isPublic"`
	Type    string                  `xml:"imageType"`
	Root    string                  `xml:"rootDeviceType"`
	Devices xmlSet[xmlImageMapping] `xml:"blockDeviceMapping"`
	Tags    xmlSet[xmlTag]          `xml:"tagSet"`
}

// xmlImageMapping is a block device of an image: of a snapshot, or instance storage.
type xmlImageMapping struct {
	Device  string       `xml:"deviceName"`
	EBS     *xmlImageEBS `xml:"ebs,omitempty"`
	Virtual string       `xml:"virtualName,omitempty"`
}

type xmlImageEBS struct {
	SnapshotID string `xml:"snapshotId"`
	Type       string `xml:"volumeType"`
}

// imageFilters are those filters of DescribeImages (API reference) that are
// simulated; others are refused.
func imageFilters() []string {
	return []string{
		"block-device-mapping.device-name", "block-device-mapping.snapshot-id", "image-id", "image-type", "is-public",
		"name", "owner-id", "root-device-type", "state", "tag:", "tag-key",
	}
}

func (s *Server) describeImages(c *call) (any, *apiError) {
	page, e := s.formPage(c, "ImageId")
	if e != nil {
		return nil, e
	}
	filters, e := formFilters(c.form, imageFilters())
	if e != nil {
		return nil, e
	}
	disabled, e := formBool(c.form, "IncludeDisabled")
	if e != nil {
		return nil, e
	}
	if _, e := formBool(c.form, "IncludeDeprecated"); e != nil {
		return nil, e
	}
	candidates := s.ec2.machineImages
	if ids := formList(c.form, "ImageId"); len(ids) > 0 {
		if candidates, e = s.findImages(ids); e != nil {
			return nil, e
		}
	}
	owners := formList(c.form, "Owner")
	var visible []*machineImage
	for _, i := range candidates {
		if (disabled || !i.Disabled) && s.imageOwned(i, owners) {
			visible = append(visible, i)
		}
	}
	items, token := cut(page, visible, func(i *machineImage) string { return fmt.Sprintf("%016x", i.seq) })
	var answer struct {
		Images    xmlSet[xmlImage] `xml:"imagesSet"`
		NextToken string           `xml:"nextToken,omitempty"`
	}
	answer.NextToken = token
	for _, i := range items {
		if x := s.imageXML(i); matchAll(filters, x.field) {
			answer.Images.Items = append(answer.Images.Items, x)
		}
		i.tags.look()
	}
	return answer, nil
}

// imageOwned tells whether the parameter Owner lets an image through.
func (s *Server) imageOwned(i *machineImage, owners []string) bool {
	return len(owners) == 0 || slices.ContainsFunc(owners, func(o string) bool {
		return o == i.OwnerID || o == "self" && i.OwnerID == s.cfg.Account || o != "" && o == ownerAlias(i.OwnerID)
	})
}

func (s *Server) findImages(ids []string) ([]*machineImage, *apiError) {
	var found []*machineImage
	var missing []string
	for _, id := range ids {
		if e := checkID("ami", "imageId", id); e != nil {
			return nil, e
		}
		i, ok := s.ec2.byID[id].(*machineImage)
		switch {
		case !ok:
			missing = append(missing, id)
		case !slices.Contains(found, i):
			found = append(found, i)
		}
	}
	if len(missing) > 0 {
		return nil, ec2Error("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", strings.Join(missing, ", "))
	}
	return found, nil
}

func (s *Server) imageXML(i *machineImage) xmlImage {
	x := xmlImage{
		ID: i.ID, Name: i.Name, State: "available", OwnerID: i.OwnerID, Public: i.OwnerID != s.cfg.Account,
		Type: "machine", Root: "ebs", Tags: xmlTags(i.tags.view()),
	}
	if i.Disabled {
		x.State = "disabled"
	}
	for n, id := range i.Snapshots {
		x.Devices.Items = append(x.Devices.Items, xmlImageMapping{
			Device: fmt.Sprintf("/dev/sd%c", 'a'+n%26), EBS: &xmlImageEBS{SnapshotID: id, Type: "gp3"},
		})
	}
	// Most images map instance storage too, which has no snapshot.
	x.Devices.Items = append(x.Devices.Items, xmlImageMapping{Device: "/dev/xvdca", Virtual: "ephemeral0"})
	return x
}

func (x xmlImage) field(name string) []string {
	switch name {
	case "image-id":
		return []string{x.ID}
	case "image-type":
		return []string{x.Type}
	case "is-public":
		return []string{fmt.Sprint(x.Public)}
	case "name":
		return []string{x.Name}
	case "owner-id":
		return []string{x.OwnerID}
	case "root-device-type":
		return []string{x.Root}
	case "state":
		return []string{x.State}
	case "block-device-mapping.device-name", "block-device-mapping.snapshot-id":
		var values []string
		for _, d := range x.Devices.Items {
			switch {
			case name == "block-device-mapping.device-name":
				values = append(values, d.Device)
			case d.EBS != nil:
				values = append(values, d.EBS.SnapshotID)
			}
		}
		return values
	}
	return tagFields(tagMap(x.Tags), name)
}
