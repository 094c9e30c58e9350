package awssim

import (
	"fmt"
	"io"
	"maps"
	"strings"
	"time"
)

// SnapshotSpec describes a snapshot to add. The zero value of a field means
// its default.
type SnapshotSpec struct {
	ID string // default: a new one

	// Image is the disk image that the snapshot holds, or Reader with
	// SizeBytes; with neither the disk is all zeros. It is read at once and
	// again for each volume, and must not change.
	Image  string
	Reader io.ReaderAt
	// SizeBytes is the size of a volume's device, a multiple of 512. Default:
	// SizeGiB, or the image's size, rounded up to GiB. A device smaller than
	// its GiB say is not like EBS, but quick to read.
	SizeBytes int64
	SizeGiB   int64 // as reported; default: SizeBytes rounded up

	VolumeID     string // default: a volume that is gone
	Start        time.Time
	Description  string
	Tags         map[string]string
	State        string // pending, completed (default), error, recoverable or recovering
	StateMessage string
	Encrypted    bool
	KMSKeyID     string // default for an encrypted one: the account's EBS key
	Archived     bool
	FullSize     int64    // default: the image's blocks that are not all zero; negative: not told
	OwnerID      string   // default: this account. Others' are public.
	SharedWith   []string // accounts, or "all": who may make volumes of this account's
	// AbsentNoise fills blocks of 512 KiB that the image has only zeros in with
	// noise on each volume, as EC2 does for an encrypted snapshot's missing blocks.
	AbsentNoise bool
	Fault       VolumeFault // of volumes made from it
}

type snapshot struct {
	SnapshotSpec
	seq   uint64
	image *diskImage
	owner string
	tags  tagHistory
	lock  *SnapshotLock // nil: never locked
}

func (s *snapshot) resourceID() string   { return s.ID }
func (s *snapshot) resourceType() string { return "snapshot" }
func (s *snapshot) ownTags() *tagHistory { return &s.tags }

// AddSnapshot adds a snapshot and returns its id.
func (s *Server) AddSnapshot(spec SnapshotSpec) (string, error) {
	ids, err := s.AddSnapshots(1, spec)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// AddSnapshots adds n snapshots that differ in id, volume and start only, and
// share one image. They start a minute apart.
func (s *Server) AddSnapshots(n int, spec SnapshotSpec) ([]string, error) {
	if err := s.checkSnapshotSpec(&spec, n); err != nil {
		return nil, fmt.Errorf("add a snapshot: %w", err)
	}
	im, err := openDiskImage(spec)
	if err != nil {
		return nil, fmt.Errorf("add a snapshot: %w", err)
	}
	if err := sizeSnapshot(&spec, im); err != nil {
		return nil, fmt.Errorf("add a snapshot: %w", joinClose(err, im))
	}
	e := &s.ec2
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, taken := e.byID[spec.ID]; taken || e.closed {
		return nil, fmt.Errorf("add snapshot %s: %w", spec.ID, joinClose(fmt.Errorf("the id is taken or the simulator is closed"), im))
	}
	e.images[im] = struct{}{}
	ids := make([]string, 0, n)
	for i := range n {
		one := spec
		if !one.Start.IsZero() {
			one.Start = one.Start.Add(time.Duration(i) * time.Minute)
		}
		ids = append(ids, s.addSnapshot(one, im))
	}
	return ids, nil
}

func (s *Server) addSnapshot(spec SnapshotSpec, im *diskImage) string {
	id, seq := s.ec2.newID("snap")
	if spec.ID == "" {
		spec.ID = id
	}
	if spec.VolumeID == "" {
		spec.VolumeID, _ = s.ec2.newID("vol")
	}
	if spec.Start.IsZero() {
		// The same in every run, so that traces can be compared.
		spec.Start = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC).Add(time.Duration(seq) * time.Minute)
	}
	snap := &snapshot{SnapshotSpec: spec, seq: seq, image: im, owner: spec.OwnerID, tags: newTagHistory(spec.Tags)}
	s.ec2.snapshots = append(s.ec2.snapshots, snap)
	s.ec2.byID[spec.ID] = snap
	s.ec2.faults[spec.ID] = spec.Fault
	return spec.ID
}

func (s *Server) checkSnapshotSpec(spec *SnapshotSpec, n int) error {
	if spec.State == "" {
		spec.State = "completed"
	}
	if spec.OwnerID == "" {
		spec.OwnerID = s.cfg.Account
	}
	if spec.Encrypted && spec.KMSKeyID == "" {
		spec.KMSKeyID = "11111111-2222-3333-4444-555555555555"
	}
	spec.KMSKeyID = s.keyARN(spec.KMSKeyID)
	spec.Tags = maps.Clone(spec.Tags)
	if spec.ID != "" {
		if e := checkID("snap", "snapshotId", spec.ID); e != nil {
			return e
		}
		if n != 1 {
			return fmt.Errorf("%d snapshots with one id", n)
		}
	}
	switch spec.State {
	case "pending", "completed", "error", "recoverable", "recovering":
	default:
		return fmt.Errorf("snapshots have no state %q", spec.State)
	}
	if len([]rune(spec.Description)) > 255 || !xmlText(spec.Description) {
		return fmt.Errorf("description of over 255 characters, or with some that XML cannot carry: %q", spec.Description)
	}
	for k, v := range spec.Tags {
		if len(k) == 0 || !xmlText(k) || !xmlText(v) {
			return fmt.Errorf("tag %q=%q has no key, or characters that XML cannot carry", k, v)
		}
	}
	if userTags(spec.Tags) > maxTags {
		return fmt.Errorf("%d tags, over the limit of %d", userTags(spec.Tags), maxTags)
	}
	return nil
}

// sizeSnapshot fills in sizes that follow from the image.
func sizeSnapshot(spec *SnapshotSpec, im *diskImage) error {
	const gib = 1 << 30
	if spec.SizeBytes == 0 {
		spec.SizeBytes = max(spec.SizeGiB*gib, (im.size+gib-1)/gib*gib)
	}
	if spec.SizeGiB == 0 {
		spec.SizeGiB = (spec.SizeBytes + gib - 1) / gib
	}
	switch {
	case spec.SizeBytes == 0:
		return fmt.Errorf("neither size nor image")
	case spec.SizeBytes%512 != 0:
		return fmt.Errorf("a device of %d bytes is no multiple of 512", spec.SizeBytes)
	case im.size > spec.SizeBytes || spec.SizeBytes > spec.SizeGiB*gib:
		return fmt.Errorf("an image of %d bytes, a device of %d and %d GiB do not fit together", im.size, spec.SizeBytes, spec.SizeGiB)
	}
	if spec.FullSize == 0 {
		spec.FullSize = im.fullSize(spec.SizeBytes)
	}
	return nil
}

// keyARN completes a KMS key's id to its ARN, as EC2 answers it.
func (s *Server) keyARN(key string) string {
	if key == "" || strings.HasPrefix(key, "arn:") {
		return key
	}
	if strings.HasPrefix(key, "alias/") {
		return fmt.Sprintf("arn:aws:kms:%s:%s:%s", s.cfg.Region, s.cfg.Account, key)
	}
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", s.cfg.Region, s.cfg.Account, key)
}

// RemoveSnapshot deletes a snapshot, as another user of the account would.
func (s *Server) RemoveSnapshot(id string) error {
	e := &s.ec2
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, snap := range e.snapshots {
		if snap.ID == id {
			e.snapshots = append(e.snapshots[:i:i], e.snapshots[i+1:]...)
			delete(e.byID, id)
			return nil
		}
	}
	return fmt.Errorf("remove snapshot %s: there is none", id)
}
