package awssim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// The states of a volume (EC2 API reference, Volume).
const (
	volCreating  = "creating"
	volAvailable = "available"
	volInUse     = "in-use"
	volDeleting  = "deleting"
	volError     = "error"
	volGone      = "gone" // not a state of EC2: not found any more
)

type volume struct {
	id         string
	seq        uint64
	state      string
	sizeGiB    int64
	deviceSize int64 // bytes
	kind       volumeParams
	zone       string
	zoneID     string
	snapshotID string
	encrypted  bool
	kmsKeyID   string
	created    time.Time
	token      string // the client token that made it
	tags       tagHistory

	visible wait // until it can be found
	change  wait // until creating or deleting is over
	fate    VolumeFate
	copied  bool // the image is there
	preset  bool // added by the test, or the root volume: nobody has to remove it
	root    bool
	image   string // its disk image
	noImage error  // why there is none: it is too large for the filesystem

	attached *attachment
	timer    *time.Timer // of a device that is late
}

func (v *volume) resourceID() string   { return v.id }
func (v *volume) resourceType() string { return "volume" }
func (v *volume) ownTags() *tagHistory { return &v.tags }

// fault is what goes wrong with the volume: said of itself, or of its snapshot.
func (e *ec2State) fault(v *volume) VolumeFault {
	if f, ok := e.faults[v.id]; ok {
		return f
	}
	return e.faults[v.snapshotID]
}

// settle moves a volume on if its time has come.
func (s *Server) settle(v *volume) {
	fault := s.ec2.fault(v)
	switch v.state {
	case volCreating:
		if !v.copied || !v.change.over() || fault.Stuck == volCreating {
			return
		}
		switch v.fate {
		case VolumeFails:
			v.state = volError
		case VolumeVanishes:
			s.forget(v)
		default:
			v.state = volAvailable
		}
	case volDeleting:
		if v.change.over() {
			s.forget(v)
		}
	case volInUse:
		s.settleAttachment(v, fault)
	}
}

func (s *Server) settleVolumes() {
	for _, v := range slices.Clone(s.ec2.volumes) {
		s.settle(v)
	}
}

// forget takes a volume out of the account.
func (s *Server) forget(v *volume) {
	v.state = volGone
	s.ec2.volumes = slices.DeleteFunc(s.ec2.volumes, func(o *volume) bool { return o == v })
	delete(s.ec2.byID, v.id)
	if err := os.Remove(v.image); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.ec2.broken = append(s.ec2.broken, fmt.Sprintf("the image of volume %s cannot be removed: %v", v.id, err))
	}
}

// findVolume finds a volume that can be seen by now. Each try counts as a look.
func (s *Server) findVolume(id string) (*volume, *apiError) {
	if e := checkID("vol", "volumeId", id); e != nil {
		return nil, e
	}
	v, ok := s.ec2.byID[id].(*volume)
	if ok {
		s.settle(v)
		ok = v.state != volGone && s.see(v)
	}
	if !ok {
		return nil, ec2Error("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
	}
	return v, nil
}

// see tells whether a volume can be found yet, and counts the look.
func (s *Server) see(v *volume) bool {
	if v.visible.over() {
		return true
	}
	v.visible.look()
	return false
}

// look counts a description of the volume, which is what its states wait for.
func (v *volume) look() {
	v.change.look()
	v.tags.look()
	if v.attached != nil {
		v.attached.change.look()
	}
}

// newVolume adds a volume in state creating. It is ready after fill, which
// takes long and must not run under ec2State.mu.
func (s *Server) newVolume(v *volume, snap *snapshot) (fill func()) {
	e := &s.ec2
	v.id, v.seq = e.newID("vol")
	v.state = volCreating
	v.image = filepath.Join(s.volumeDir(), v.id+".img")
	v.visible, v.change = newWait(e.conf.NewVolume), newWait(e.conf.Creating)
	e.volumes = append(e.volumes, v)
	e.byID[v.id] = v
	im, noise := &diskImage{}, int64(0)
	if snap != nil {
		im = snap.image
		if snap.AbsentNoise {
			noise = snap.SizeBytes
		}
	}
	path, size := v.image, v.deviceSize
	return func() {
		err := im.copyTo(path, size, noise)
		e.mu.Lock()
		defer e.mu.Unlock()
		v.copied = true
		switch {
		case err == nil:
		case errors.Is(err, syscall.EFBIG):
			v.noImage = err // a volume all the same; it can only not be attached
		default:
			v.fate = VolumeFails
			e.broken = append(e.broken, fmt.Sprintf("the image of volume %s cannot be made: %v", v.id, err))
		}
	}
}

func (s *Server) deleteVolume(c *call) (any, *apiError) {
	if e := required(c.form, "VolumeId"); e != nil {
		return nil, e
	}
	v, e := s.findVolume(c.form.Get("VolumeId"))
	if e != nil {
		return nil, e
	}
	switch v.state {
	case volInUse:
		return nil, ec2Error("VolumeInUse", "Volume %s is currently attached to %s", v.id, v.attached.instance)
	case volCreating:
		return nil, ec2Error("IncorrectState", "The volume '%s' is in the '%s' state.", v.id, v.state)
	case volDeleting:
		return nil, ec2Error("InvalidVolume.NotFound", "The volume '%s' does not exist.", v.id)
	}
	v.state, v.change = volDeleting, newWait(s.ec2.conf.Deleting)
	s.settle(v)
	return nil, nil
}

// VolumeSpec describes a volume that was there before.
type VolumeSpec struct {
	SnapshotID string // default: an empty volume
	SizeGiB    int64  // default: the snapshot's
	Zone       string // default: the server's
	Type       string // default gp3
	Created    time.Time
	Tags       map[string]string
	Instance   string // attached to it; then Device as well
	Device     string
}

// AddVolume adds a volume that was there before the program under test. It is
// not named as left behind.
func (s *Server) AddVolume(spec VolumeSpec) (string, error) {
	v, fill, err := s.presetVolume(spec)
	if err != nil {
		return "", fmt.Errorf("add a volume: %w", err)
	}
	fill()
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	if v.state = volAvailable; v.fate != "" {
		return v.id, fmt.Errorf("add volume %s: its image cannot be made", v.id)
	}
	if spec.Instance != "" {
		if e := s.attach(v, attachRequest{instance: spec.Instance, device: spec.Device, at: v.created}); e != nil {
			return v.id, fmt.Errorf("attach the added volume: %w", e)
		}
		v.attached.state = attAttached
	}
	return v.id, nil
}

func (s *Server) presetVolume(spec VolumeSpec) (v *volume, fill func(), err error) {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	v = &volume{
		sizeGiB: spec.SizeGiB, zone: spec.Zone, kind: volumeParams{name: spec.Type}, created: spec.Created,
		snapshotID: spec.SnapshotID, tags: newTagHistory(spec.Tags), preset: true,
	}
	if v.zone == "" {
		v.zone = s.cfg.Zone
	}
	if v.kind.name == "" {
		v.kind.name = "gp3"
	}
	if v.created.IsZero() {
		v.created = time.Now()
	}
	v.zoneID = zoneID(v.zone)
	var snap *snapshot
	if spec.SnapshotID != "" {
		var ok bool
		if snap, ok = s.ec2.byID[spec.SnapshotID].(*snapshot); !ok {
			return nil, nil, fmt.Errorf("there is no snapshot %s", spec.SnapshotID)
		}
		v.encrypted, v.kmsKeyID = snap.Encrypted, snap.KMSKeyID
	}
	if e := v.size(snap); e != nil {
		return nil, nil, e
	}
	fill = s.newVolume(v, snap)
	v.visible = wait{}
	return v, fill, nil
}

// size checks the size against the snapshot's, or takes that.
func (v *volume) size(snap *snapshot) *apiError {
	const gib = 1 << 30
	switch {
	case snap == nil && v.sizeGiB == 0:
		return ec2Error("MissingParameter", "The request must contain the parameter size or snapshotId")
	case snap == nil:
		v.deviceSize = v.sizeGiB * gib
	case v.sizeGiB == 0 || v.sizeGiB == snap.SizeGiB:
		v.sizeGiB, v.deviceSize = snap.SizeGiB, snap.SizeBytes
	case v.sizeGiB < snap.SizeGiB:
		return ec2Error("InvalidParameterValue", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", v.sizeGiB, snap.ID, snap.SizeGiB)
	default:
		v.deviceSize = v.sizeGiB * gib
	}
	return nil
}
