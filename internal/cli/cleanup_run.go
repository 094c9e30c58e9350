package cli

import (
	"cmp"
	"context"
	"log/slog"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/workflow"
)

// runCleanup runs what cleanup was asked for, and reports it.
func runCleanup(ctx context.Context, env Env, o CleanupOptions) error {
	level := slog.LevelInfo
	if o.Verbose {
		level = slog.LevelDebug
	}
	console := env.console(o.LogFormat, level)
	defer console.Close()
	r := &cleanupReport{out: console.Results(), log: console.Log(), options: o}
	c, err := wireCleanup(ctx, env, o, console.Log())
	if err != nil {
		if o.JSON {
			r.Summary(workflow.CleanSummary{}, err)
		}
		return err
	}
	sum, err := c.Clean(ctx, r.Leftover)
	r.Summary(sum, err)
	return err
}

// wireCleanup puts a clean-up together. It works outside of EC2, too, where there
// are no runs of this machine to clean up after.
func wireCleanup(ctx context.Context, env Env, o CleanupOptions, log *slog.Logger) (*workflow.Cleaner, error) {
	session, err := aws.Load(ctx, aws.Options{
		Region: o.Region, S3Endpoint: o.EndpointURL, Log: log,
		Stall: env.Timing.Stall, MaxBackoff: env.Timing.MaxBackoff,
	})
	if err != nil {
		return nil, err
	}
	// Without a bucket the store only tells where stores are.
	store, err := s3.New(session, cmp.Or(o.Bucket, "none"), s3.Options{Log: log})
	if err != nil {
		return nil, err
	}
	boot, err := runstate.BootID()
	if err != nil {
		return nil, err
	}
	instance, err := session.Instance(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		log.Warn("this is not known to be an EC2 instance: dead runs of this machine, and volumes attached to it, cannot be told",
			"err", err, "hint", hint.Of(err))
	}
	sweeper := sweeping{
		session: session, instance: instance, boot: boot, store: store, bucket: o.Bucket,
		limit: cmp.Or(env.Timing.CleanupTimeout, cleanupTimeout), log: log,
	}.sweeper(env)
	return &workflow.Cleaner{
		Sweeper: sweeper, Tag: o.Tag, Bucket: o.Bucket, Store: store, Endpoint: store.Endpoint(),
		Only: o.Only, Apply: o.Yes, Now: session.Now, Log: log,
	}, nil
}
