package awssim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// EC2Config is EC2's pace, its quotas and what it refuses.
type EC2Config struct {
	Creating  Lag // creating → available; zero: one look
	Attaching Lag // attaching → attached; zero: one look
	Detaching Lag // detaching → available; zero: one look
	Deleting  Lag // deleting → gone; zero: one look
	NewVolume Lag // until a new volume can be found; zero: at once
	Tags      Lag // until written tags are shown; zero: at once

	DeviceDelay time.Duration // from AttachVolume until the device appears

	PageSize       int // most items a page has, whatever MaxResults says; default and maximum 1,000
	MaxVolumes     int // in the account, the root volume aside; 0: no limit
	MaxAttachments int // on an instance, the root volume aside; 0: no limit

	// DeniedKeys holds KMS keys (id or ARN) that EC2 may not use, and what
	// becomes of a volume under such a key. EC2 checks keys asynchronously:
	// CreateVolume succeeds all the same.
	DeniedKeys map[string]VolumeFate
}

func (c EC2Config) withDefaults() EC2Config {
	for _, l := range []*Lag{&c.Creating, &c.Attaching, &c.Detaching, &c.Deleting} {
		if *l == (Lag{}) {
			l.Reads = 1
		}
	}
	if c.PageSize <= 0 || c.PageSize > ec2MaxPage {
		c.PageSize = ec2MaxPage
	}
	return c
}

// VolumeFate is what becomes of a volume that cannot be created.
type VolumeFate string

// The ends that EC2 gives to a volume whose key it may not use.
const (
	VolumeFails    VolumeFate = "error"  // its state becomes error
	VolumeVanishes VolumeFate = "vanish" // it is not found any more
)

// VolumeFault is what goes wrong with a volume, or with the volumes that are
// made from a snapshot.
type VolumeFault struct {
	Stuck       string        // a state it never leaves: creating, attaching or detaching (the latter two end by a forced detach)
	Fate        VolumeFate    // its end instead of available
	NoDevice    bool          // it attaches, and no device appears
	DeviceDelay time.Duration // instead of EC2Config's, if longer
	ReadErrorAt int64         // if over 0: from this byte on the device cannot be read (without loop devices: it ends there)
}

// ec2State is all that EC2 knows. Everything in it is guarded by mu.
type ec2State struct {
	mu            sync.Mutex
	conf          EC2Config
	seq           uint64 // of the newest resource
	snapshots     []*snapshot
	machineImages []*machineImage
	volumes       []*volume // those that are gone are not in it
	instances     []*ec2Instance
	hosts         []*Host // instances besides our own on which programs run
	byID          map[string]resource
	created       map[string]createdVolume // by client token
	faults        map[string]VolumeFault   // by snapshot or volume id
	images        map[*diskImage]struct{}  // open images, closed in the end
	yanked        []*loopDevice            // loops under devices that were detached by force while held
	broken        []string                 // invariants that did not hold
	closed        bool
	work          sync.WaitGroup // copies and late devices
}

// resource is what can be tagged and found by id.
type resource interface {
	resourceID() string
	resourceType() string
	ownTags() *tagHistory
}

func (s *Server) startEC2() error {
	e := &s.ec2
	e.conf = s.cfg.EC2.withDefaults()
	e.byID = map[string]resource{}
	e.created = map[string]createdVolume{}
	e.faults = map[string]VolumeFault{}
	e.images = map[*diskImage]struct{}{}
	if err := os.MkdirAll(s.volumeDir(), 0o700); err != nil {
		return fmt.Errorf("make the simulator's folder of volumes: %w", err)
	}
	if s.cfg.Loop {
		if err := loopsUsable(); err != nil {
			return fmt.Errorf("attach by loop device: %w", err)
		}
	}
	if err := s.AddInstance(s.cfg.InstanceID, s.cfg.Zone); err != nil {
		return err
	}
	return s.plugOwnDisks()
}

func (s *Server) volumeDir() string { return filepath.Join(s.cfg.Dir, "volumes") }

// SetEC2 replaces EC2's pace, quotas and refusals; what is under way keeps its pace.
func (s *Server) SetEC2(c EC2Config) {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	s.ec2.conf = c.withDefaults()
}

// SetVolumeFault says what goes wrong with a volume from now on, or, given a
// snapshot's id, with the volumes made from it. The zero value ends it.
func (s *Server) SetVolumeFault(id string, f VolumeFault) {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	s.ec2.faults[id] = f
}

// ec2Action is one call of the API: the parameters it knows and its handler,
// which runs under ec2State.mu.
type ec2Action struct {
	run    func(*call) (any, *apiError)
	params []string
}

func (s *Server) ec2Action(name string) (ec2Action, bool) {
	switch name {
	case "DescribeSnapshots":
		return ec2Action{s.describeSnapshots, []string{"Filter", "MaxResults", "NextToken", "Owner", "RestorableBy", "SnapshotId"}}, true
	case "CreateTags":
		return ec2Action{s.createTags, []string{"ResourceId", "Tag"}}, true
	case "DeleteTags":
		return ec2Action{s.deleteTags, []string{"ResourceId", "Tag"}}, true
	case "DescribeTags":
		return ec2Action{s.describeTags, []string{"Filter", "MaxResults", "NextToken"}}, true
	case "CreateVolume":
		return ec2Action{s.createVolume, []string{
			"AvailabilityZone", "AvailabilityZoneId", "ClientToken", "Encrypted", "Iops", "KmsKeyId", "MultiAttachEnabled",
			"Size", "SnapshotId", "TagSpecification", "Throughput", "VolumeInitializationRate", "VolumeType",
		}}, true
	case "DescribeVolumes":
		return ec2Action{s.describeVolumes, []string{"Filter", "MaxResults", "NextToken", "VolumeId"}}, true
	case "DescribeVolumeStatus":
		return ec2Action{s.describeVolumeStatus, []string{"MaxResults", "NextToken", "VolumeId"}}, true
	case "DeleteVolume":
		return ec2Action{s.deleteVolume, []string{"VolumeId"}}, true
	case "AttachVolume":
		return ec2Action{s.attachVolume, []string{"Device", "InstanceId", "VolumeId"}}, true
	case "DetachVolume":
		return ec2Action{s.detachVolume, []string{"Device", "Force", "InstanceId", "VolumeId"}}, true
	case "DescribeInstanceAttribute":
		return ec2Action{s.describeInstanceAttribute, []string{"Attribute", "InstanceId"}}, true
	case "DescribeImages":
		return ec2Action{s.describeImages, []string{
			"Filter", "ImageId", "IncludeDeprecated", "IncludeDisabled", "MaxResults", "NextToken", "Owner",
		}}, true
	case "DescribeLockedSnapshots":
		return ec2Action{s.describeLockedSnapshots, []string{"Filter", "MaxResults", "NextToken", "SnapshotId"}}, true
	case "DescribeInstances":
		return ec2Action{s.describeInstances, []string{"Filter", "InstanceId", "MaxResults", "NextToken"}}, true
	}
	return ec2Action{}, false
}

// serveEC2 answers one call. A nil body stands for the plain <return>true</return>.
func (s *Server) serveEC2(c *call) (any, *apiError) {
	c.summary = ec2Summary(c.form)
	action, ok := s.ec2Action(c.Action)
	if !ok {
		return nil, ec2Error("InvalidAction", "The action %s is not valid for this web service.", c.Action)
	}
	if e := checkParams(c.form, action.params); e != nil {
		return nil, e
	}
	dry, e := formBool(c.form, "DryRun")
	if e != nil {
		return nil, e
	}
	if dry {
		return nil, &apiError{Status: 412, Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	if s.ec2.closed {
		return nil, &apiError{Status: 503, Code: "Unavailable", Message: "The simulator is closing."}
	}
	body, e := action.run(c)
	s.noteInvariants()
	return body, e
}

// closeEC2 takes away devices, loops and volume images.
func (s *Server) closeEC2() error {
	e := &s.ec2
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	for _, v := range e.volumes {
		v.stopTimer(e)
	}
	e.mu.Unlock()
	e.work.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	errs := []error{s.unplugAll()}
	for im := range e.images {
		errs = append(errs, im.close())
	}
	for _, dir := range []string{s.volumeDir(), s.devRoot(), s.sysRoot()} {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// newID makes ids that are the same in every run, so that traces can be compared.
func (e *ec2State) newID(prefix string) (id string, seq uint64) {
	e.seq++
	x := e.seq * 0x9e3779b97f4a7c15 // the odd constant of the splitmix64 generator
	x ^= x >> 31
	return fmt.Sprintf("%s-0%016x", prefix, x), e.seq
}

func ec2Error(code, format string, args ...any) *apiError {
	return &apiError{Status: 400, Code: code, Message: fmt.Sprintf(format, args...)}
}
