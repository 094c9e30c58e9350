package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// cleanupTimeout bounds each step of taking things back: EC2 may take minutes to
// detach a volume, and no longer than that is waited for.
const cleanupTimeout = 5 * time.Minute

// migrator is a workflow with the adapters that were made for it.
type migrator struct {
	workflow.Migrator
	session *aws.Session
	store   *s3.Store
	sweeper *workflow.Sweeper
}

// wireMigrate puts a migration together. It asks AWS only what must be known
// before anything is touched: the region of the bucket and, unless nothing will
// be touched, which instance this is.
func wireMigrate(ctx context.Context, env Env, o MigrateOptions, log *slog.Logger) (*migrator, error) {
	session, err := aws.Load(ctx, aws.Options{
		Region: o.Region, S3Endpoint: o.EndpointURL, Log: log,
		Stall: env.Timing.Stall, MaxBackoff: env.Timing.MaxBackoff,
	})
	if err != nil {
		return nil, err
	}
	mounts, err := mountsOf(env, o)
	if err != nil {
		return nil, err
	}
	store, err := s3.New(session, o.Bucket, s3.Options{Log: log, Patience: env.Timing.CompletePatience})
	if err != nil {
		return nil, err
	}
	code, err := codec.New(o.Compression, o.CompressionLevel)
	if err != nil {
		return nil, err
	}
	m := &migrator{session: session, store: store}
	m.Migrator = workflow.Migrator{
		Catalog: ec2.NewCatalog(session), Store: store, Log: log,
		Tag: o.Tag, Bucket: o.Bucket, EndpointURL: o.EndpointURL, Codec: code, ToolVersion: version(),
		VolumeType: o.VolumeType, KeepVolumes: o.KeepTempVolumes,
		CheckVolume: func(s snapshot.Snapshot) error { return ec2.CheckVolumeType(o.VolumeType, s) },
		Trees:       !o.Image, Choice: o.Choice,
		Mounts:      mounts,
		AndValidate: o.AndValidate, Prefer: o.prefer(),
		Overwrite: o.Overwrite, FailFast: o.FailFast, Jobs: o.Jobs, MaxCost: o.MaxCost,
		Pricing: workflow.Pricing{Table: cost.Builtin(), Region: session.Config.Region},
		Upload: workflow.Upload{
			Streams: o.UploadStreams, PartSize: o.PartSize, SpoolDir: o.Spool, Endpoint: store.Endpoint(),
			StorageClass: o.StorageClass, Encryption: o.Encryption, Limits: objstore.S3Limits(),
		},
		Cleanup: cmp.Or(env.Timing.CleanupTimeout, cleanupTimeout),
	}
	if err := wireGPG(ctx, &m.Migrator, o); err != nil {
		return nil, err
	}
	region, err := store.Region(ctx)
	if err != nil {
		return nil, err
	}
	if amazonsPrices(store, o) {
		m.Pricing.BucketRegion = region
	}
	if o.DryRun {
		return m, nil
	}
	return m, m.wireVolumes(ctx, env, o)
}

// mountsOf is how filesystems are mounted: as the kernel allows, unless the
// environment wants what the oldest kernels do.
func mountsOf(env Env, o MigrateOptions) (workflow.Mounts, error) {
	const name = "SNAP_TO_S3_MOUNTS"
	switch way := env.Getenv(name); way {
	case "", "plain":
		return workflow.Mounts{Folder: o.MountPoint, Plain: way != ""}, nil
	default:
		return workflow.Mounts{}, hint.Wrap(fmt.Errorf("%s is %q", name, way), "leave it unset, or set it to plain for mounts under --mount-point")
	}
}

// checkMountPoint tries whether folders can be made in the folder for mounts, which
// may not be there itself yet. It leaves nothing behind.
func checkMountPoint(folder string) error {
	there := folder
	for {
		_, err := os.Stat(there)
		if !errors.Is(err, fs.ErrNotExist) || there == filepath.Dir(there) {
			break
		}
		there = filepath.Dir(there)
	}
	tried, err := os.MkdirTemp(there, ".snap-to-s3-*")
	if err == nil {
		err = os.Remove(tried)
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("no folders to mount at can be made in %s: %w", folder, err),
			"name a folder that can be written to: --mount-point FOLDER")
	}
	return nil
}

// amazonsPrices tells whether the bucket is paid for as Amazon's are. An endpoint
// in the environment may be a proxy of Amazon's S3, or the sandbox, which then
// names itself as S3 does; one that was given as "another store" is no such thing.
func amazonsPrices(s *s3.Store, o MigrateOptions) bool {
	return !s.CustomEndpoint() || o.EndpointURL == "" && s.SaysAmazon()
}

// wireVolumes adds what only a run that makes volumes needs.
func (m *migrator) wireVolumes(ctx context.Context, env Env, o MigrateOptions) error {
	if m.Trees && !o.ValidateOnly { // what a validation needs depends on what it finds
		if err := filesystem.Usable(); err != nil {
			return hint.Wrap(fmt.Errorf("the files of a disk cannot be read: %w", err),
				"run it as root (sudo), or take images of the disks with --dd")
		}
	}
	if (m.Trees || o.ValidateOnly) && (o.KeepTempVolumes || m.Mounts.Plain) {
		if err := checkMountPoint(o.MountPoint); err != nil {
			return err
		}
	}
	instance, err := m.session.Instance(ctx)
	if err != nil {
		return err
	}
	if region := m.session.Config.Region; instance.Region != region {
		return hint.Wrap(regionMismatch(instance.Region, region),
			"leave --region out, or run this on an instance in "+region)
	}
	boot, err := runstate.BootID()
	if err != nil {
		return err
	}
	m.Run = runstate.NewRunID()
	self := catalog.Identity{Host: instance.ID, Boot: boot, Run: m.Run}
	m.Protocol = &catalog.Protocol{
		Catalog: m.Catalog, Tag: o.Tag, Self: self, Now: m.session.Now, Region: m.session.Config.Region,
		Settle: env.Timing.ClaimSettle, Renew: env.Timing.ClaimRenew, Log: m.Log,
	}
	m.State, err = runstate.Create(runstate.DefaultDir(), runstate.Header{
		Run: m.Run, Host: instance.ID, Boot: boot, PID: os.Getpid(), Args: argsForState(o), Started: m.session.Now(),
	})
	if err != nil {
		return err
	}
	m.Volumes = ec2.NewVolumes(ec2.VolumesConfig{
		Session: m.session, Instance: instance, Tag: o.Tag,
		DevRoot: env.Getenv("SNAP_TO_S3_DEV_ROOT"), SysRoot: env.Getenv("SNAP_TO_S3_SYS_ROOT"),
		Protocol: m.Protocol, State: m.State, Log: m.Log,
		Timing: volumeTiming(env),
	})
	m.sweeper = sweeping{
		session: m.session, instance: instance, boot: boot, store: m.store, bucket: o.Bucket, limit: sweepLimit, log: m.Log,
	}.sweeper(env)
	m.Kept = func(ctx context.Context) (map[snapshot.ID]bool, error) { return m.sweeper.Kept(ctx, o.Tag) }
	return nil
}

func volumeTiming(env Env) ec2.Timing {
	t := env.Timing
	return ec2.Timing{
		Poll: t.Poll, PollMax: t.PollMax, Settle: t.VolumeSettle, Call: t.VolumeCall,
		VolumeWait: t.VolumeWait, AttachWait: t.AttachWait, DeviceWait: t.DeviceWait, DetachWait: t.DetachWait,
	}
}
