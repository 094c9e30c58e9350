package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/workflow"
)

// sweepLimit is how long one thing that an earlier run has left may hold up a run
// that has work of its own. Most of it is EC2 detaching a volume, which takes
// seconds or does not end.
const sweepLimit = time.Minute

// sweeping is what sweepers are made of.
type sweeping struct {
	session  *aws.Session
	instance aws.Instance // zero outside of EC2
	boot     string
	store    *s3.Store
	bucket   string
	limit    time.Duration // for each thing
	log      *slog.Logger
}

func (w sweeping) sweeper(env Env) *workflow.Sweeper {
	return &workflow.Sweeper{
		Dir: runstate.DefaultDir(), Host: w.instance.ID, Boot: w.boot, Region: w.session.Config.Region,
		Protocol: &catalog.Protocol{
			Catalog: ec2.NewCatalog(w.session), Now: w.session.Now, Region: w.session.Config.Region,
			Settle: env.Timing.ClaimSettle, Log: w.log,
		},
		Volumes: w.remains(env), Uploads: w.uploads,
		Settle: cmp.Or(env.Timing.VolumeSettle, ec2.DefaultTiming().Settle),
		Limit:  w.limit, Log: w.log,
	}
}

func (w sweeping) remains(env Env) *ec2.Remains {
	return ec2.NewRemains(ec2.VolumesConfig{
		Session: w.session, Instance: w.instance, Log: w.log, Timing: volumeTiming(env),
		DevRoot: env.Getenv("SNAP_TO_S3_DEV_ROOT"), SysRoot: env.Getenv("SNAP_TO_S3_SYS_ROOT"),
	})
}

// uploads is the bucket of an earlier run, which need not be this one's.
func (w sweeping) uploads(bucket, endpoint string) (objstore.Uploads, error) {
	if here := w.store.Endpoint(); endpoint != here {
		return nil, fmt.Errorf("it is in the store at %s, and this run's is at %s", cmp.Or(endpoint, "Amazon S3"), cmp.Or(here, "Amazon S3"))
	}
	if bucket == w.bucket {
		return w.store, nil
	}
	return s3.New(w.session, bucket, s3.Options{Log: w.log})
}

// sweep takes away what dead runs of this host have left, and names what stays.
// None of it keeps this run from its work.
func (m *migrator) sweep(ctx context.Context) {
	err := m.sweeper.Sweep(ctx, nil, func(s workflow.Swept) {
		fields := []any{"run", s.Run.Run, "kind", s.Entry.Kind, "what", s.Entry.What()}
		switch {
		case s.Fate == workflow.Removed:
			m.Log.Info("took away what an earlier run left", fields...)
		case s.Fate == workflow.Gone, s.Fate == workflow.Spared:
			m.Log.Debug("an earlier run's thing is gone, or is not its own any more", fields...)
		case s.Fate == workflow.Found && s.Below: // it goes with its volume
		case s.Fate == workflow.Found:
			m.Log.Info("kept by an earlier run", append(fields, "command", s.Entry.Hint())...)
		case ctx.Err() != nil: // it was not got to
		default:
			m.Log.Warn("left behind by an earlier run", append(fields, "reason", s.Err.Error(), "command", s.Entry.Hint(), "file", s.Path)...)
		}
	})
	if err != nil && ctx.Err() == nil {
		m.Log.Warn("earlier runs' state files cannot be read", "err", err)
	}
}
