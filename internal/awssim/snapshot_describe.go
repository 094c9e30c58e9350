package awssim

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

type xmlSnapshot struct {
	ID           string         `xml:"snapshotId"`
	VolumeID     string         `xml:"volumeId"`
	State        string         `xml:"status"`
	StateMessage string         `xml:"statusMessage,omitempty"`
	Start        xmlTime        `xml:"startTime"`
	Completed    xmlTime        `xml:"completionTime"`
	Progress     string         `xml:"progress"`
	OwnerID      string         `xml:"ownerId"`
	OwnerAlias   string         `xml:"ownerAlias,omitempty"`
	SizeGiB      int64          `xml:"volumeSize"`
	Description  string         `xml:"description"`
	Tags         xmlSet[xmlTag] `xml:"tagSet"`
	Encrypted    bool           `xml:"encrypted"`
	KMSKeyID     string         `xml:"kmsKeyId,omitempty"`
	DataKeyID    string         `xml:"dataEncryptionKeyId,omitempty"`
	StorageTier  string         `xml:"storageTier"`
	FullSize     *int64         `xml:"fullSnapshotSizeInBytes,omitempty"`
}

// snapshotFilters are the filters of DescribeSnapshots (API reference).
func snapshotFilters() []string {
	return []string{
		"description", "encrypted", "owner-alias", "owner-id", "progress", "snapshot-id", "start-time", "status",
		"storage-tier", "tag:", "tag-key", "volume-id", "volume-size",
	}
}

func (s *Server) describeSnapshots(c *call) (any, *apiError) {
	page, e := s.formPage(c, "SnapshotId")
	if e != nil {
		return nil, e
	}
	filters, e := formFilters(c.form, snapshotFilters())
	if e != nil {
		return nil, e
	}
	candidates := s.ec2.snapshots
	if ids := formList(c.form, "SnapshotId"); len(ids) > 0 {
		if candidates, e = s.findSnapshots(ids); e != nil {
			return nil, e
		}
	}
	mine := s.snapshotScope(c)
	visible := make([]*snapshot, 0, len(candidates))
	for _, snap := range candidates {
		if mine(snap) {
			visible = append(visible, snap)
		}
	}
	items, token := cut(page, visible, func(snap *snapshot) string { return fmt.Sprintf("%016x", snap.seq) })
	var answer struct {
		Snapshots xmlSet[xmlSnapshot] `xml:"snapshotSet"`
		NextToken string              `xml:"nextToken,omitempty"`
	}
	answer.NextToken = token
	for _, snap := range items {
		if x := s.snapshotXML(snap, c.account()); matchAll(filters, x.field) {
			answer.Snapshots.Items = append(answer.Snapshots.Items, x)
		}
		snap.tags.look()
	}
	return answer, nil
}

// findSnapshots returns snapshots by id; each id must exist, the others' are
// found, too, if they are public.
func (s *Server) findSnapshots(ids []string) ([]*snapshot, *apiError) {
	var found []*snapshot
	var missing []string
	for _, id := range ids {
		if e := checkID("snap", "snapshotId", id); e != nil {
			return nil, e
		}
		snap, ok := s.ec2.byID[id].(*snapshot)
		switch {
		case !ok:
			missing = append(missing, id)
		case !slices.Contains(found, snap):
			found = append(found, snap)
		}
	}
	switch len(missing) {
	case 0:
		return found, nil
	case 1:
		return nil, ec2Error("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", missing[0])
	default:
		return nil, ec2Error("InvalidSnapshot.NotFound", "The snapshots '%s' do not exist.", strings.Join(missing, ", "))
	}
}

// snapshotScope tells which snapshots Owner and RestorableBy let through.
func (s *Server) snapshotScope(c *call) func(*snapshot) bool {
	owners, restorers := formList(c.form, "Owner"), formList(c.form, "RestorableBy")
	return func(snap *snapshot) bool {
		own := snap.owner == c.account()
		public := snap.owner != s.cfg.Account || slices.Contains(snap.SharedWith, "all")
		visible := own || public || slices.Contains(snap.SharedWith, c.account())
		ok := len(owners) == 0
		for _, o := range owners {
			ok = ok || o == snap.owner || o == "self" && own || o == "amazon" && ownerAlias(snap.owner) == "amazon"
		}
		can := len(restorers) == 0
		for _, r := range restorers {
			can = can || r == "all" && public && (!own || slices.Contains(snap.SharedWith, "all")) ||
				(r == "self" || r == c.account()) && (own || slices.Contains(snap.SharedWith, c.account())) || own && slices.Contains(snap.SharedWith, r)
		}
		return ok && can && visible
	}
}

// ownerAlias knows the account that Amazon's public images belong to.
func ownerAlias(account string) string {
	if account == "137112412989" {
		return "amazon"
	}
	return ""
}

func (s *Server) snapshotXML(snap *snapshot, account string) xmlSnapshot {
	x := xmlSnapshot{
		ID: snap.ID, VolumeID: snap.VolumeID, State: snap.State, StateMessage: snap.StateMessage,
		Start: xmlTime{snap.Start}, Progress: "40%", OwnerID: snap.owner, OwnerAlias: ownerAlias(snap.owner), SizeGiB: snap.SizeGiB,
		Description: snap.Description, Encrypted: snap.Encrypted, KMSKeyID: snap.KMSKeyID, StorageTier: "standard",
	}
	if snap.owner == account {
		x.Tags = xmlTags(snap.tags.view())
	}
	if snap.State == "completed" {
		x.Progress, x.Completed = "100%", xmlTime{snap.Start.Add(90e9)}
	}
	if snap.Archived {
		x.StorageTier = "archive"
	}
	if snap.Encrypted {
		h := fnv.New64a()
		h.Write([]byte(snap.VolumeID))
		x.DataKeyID = fmt.Sprintf("%016x", h.Sum64())
	}
	if snap.FullSize >= 0 {
		x.FullSize = &snap.FullSize
	}
	return x
}

func (x xmlSnapshot) field(name string) []string {
	switch name {
	case "description":
		return []string{x.Description}
	case "encrypted":
		return []string{strconv.FormatBool(x.Encrypted)}
	case "owner-alias":
		return []string{x.OwnerAlias}
	case "owner-id":
		return []string{x.OwnerID}
	case "progress":
		return []string{x.Progress}
	case "snapshot-id":
		return []string{x.ID}
	case "start-time":
		return []string{x.Start.UTC().Format("2006-01-02T15:04:05.000Z")}
	case "status":
		return []string{x.State}
	case "storage-tier":
		return []string{x.StorageTier}
	case "volume-id":
		return []string{x.VolumeID}
	case "volume-size":
		return []string{strconv.FormatInt(x.SizeGiB, 10)}
	}
	return tagFields(tagMap(x.Tags), name)
}

// tagMap turns a set of tags back into a map.
func tagMap(set xmlSet[xmlTag]) map[string]string {
	m := make(map[string]string, len(set.Items))
	for _, t := range set.Items {
		m[t.Key] = t.Value
	}
	return m
}
