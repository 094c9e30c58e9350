package ec2

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"

	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/workflow"
)

// VolumesConfig is what temporary volumes are made with. All fields but DevRoot,
// SysRoot and Timing are needed.
type VolumesConfig struct {
	Session  *aws.Session
	Instance aws.Instance // where volumes are attached
	Tag      string       // the tag that drives the work
	DevRoot  string       // where devices appear; "" is /dev
	SysRoot  string       // what tells of NVMe devices; "" is /sys
	Protocol *catalog.Protocol
	State    *runstate.File
	Timing   Timing // a field that is 0 has its default
	Log      *slog.Logger
}

// Volumes makes temporary volumes from snapshots. It is safe for concurrent use.
type Volumes struct {
	client *awsec2.Client
	cfg    VolumesConfig
	dev    deviceRoots

	mu    sync.Mutex
	taken map[byte]bool // letters of device names given to our volumes; EC2 may not show them yet
}

var _ workflow.VolumeOpener = (*Volumes)(nil)

// NewVolumes returns an opener for the instance of cfg.
func NewVolumes(cfg VolumesConfig) *Volumes {
	if cfg.DevRoot == "" {
		cfg.DevRoot = "/dev"
	}
	if cfg.SysRoot == "" {
		cfg.SysRoot = "/sys"
	}
	cfg.Timing = cfg.Timing.orDefault()
	return &Volumes{
		client: newClient(cfg.Session),
		cfg:    cfg,
		dev:    deviceRoots{dev: filepath.Clean(cfg.DevRoot), sys: filepath.Clean(cfg.SysRoot)},
		taken:  map[byte]bool{},
	}
}

// The tags of a temporary volume; the last two are values of the tag that drives
// the work.
const (
	nameTag    = "Name"
	nameValue  = "Temp for snap-to-s3"
	inProgress = workflow.VolumeInProgress
	kept       = workflow.VolumeKept
)

func (v *Volumes) ownerTag() string { return v.cfg.Tag + "-owner" }

// Open implements workflow.VolumeOpener.
func (v *Volumes) Open(ctx context.Context, cancel context.CancelCauseFunc, r workflow.VolumeRequest) (workflow.Volume, error) {
	typ, err := chooseType(r.Type, r.Snapshot)
	if err != nil {
		return nil, err
	}
	if r.Log == nil {
		r.Log = v.cfg.Log.With("snapshot", r.Snapshot.ID)
	}
	kept, err := v.earlier(ctx, cancel, r, typ)
	switch {
	case err != nil:
		return nil, err
	case kept != nil:
		return kept, nil
	}
	t := v.newVolume(r, typ)
	if err := t.open(ctx, cancel); err != nil {
		return nil, t.takeBack(ctx, err)
	}
	return t, nil
}

func (v *Volumes) newVolume(r workflow.VolumeRequest, typ volumeType) *volume {
	return &volume{volumes: v, reads: newWatchdog(v.cfg.Timing.ReadStall), request: r, typ: typ, log: r.Log}
}

func (t *volume) open(ctx context.Context, cancel context.CancelCauseFunc) error {
	if err := t.create(ctx); err != nil {
		return err
	}
	t.stop = t.volumes.cfg.Protocol.Hold(ctx, cancel, held{t.volumes, t.id}, t.request.Owner)
	if err := t.awaitAvailable(ctx); err != nil {
		return err
	}
	if err := t.attach(ctx); err != nil {
		return err
	}
	if err := t.awaitAttached(ctx); err != nil {
		return err
	}
	return t.openDevice(ctx)
}

// held is the owner tag of a volume, as catalog.Protocol renews it.
type held struct {
	volumes *Volumes
	id      volumeID
}

// String names the volume in messages about its renewal.
func (h held) String() string { return "volume " + string(h.id) }

// ReadOwner implements catalog.Held; without the tag it is "".
func (h held) ReadOwner(ctx context.Context) (string, error) {
	doing := "describe " + h.String()
	got, err := h.volumes.describe(ctx, h.id)
	if err != nil {
		return "", explain(ctx, err, doing)
	}
	return tagMap(got.Tags)[h.volumes.ownerTag()], nil
}

// WriteOwner implements catalog.Held.
func (h held) WriteOwner(ctx context.Context, owner string) error {
	return setTags(ctx, h.volumes.client, string(h.id), map[string]string{h.volumes.ownerTag(): owner})
}
