package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"snap-to-s3/internal/workflow"
)

// runMigrate runs what migrate was asked for, and reports it.
func runMigrate(ctx context.Context, env Env, o MigrateOptions) error {
	level := slog.LevelInfo
	if o.Verbose {
		level = slog.LevelDebug
	}
	console := env.console(o.LogFormat, level)
	defer console.Close()
	var r report = newTextReport(console, o)
	if o.JSON {
		r = newJSONReport(console, o)
	}
	if !o.ValidateOnly { // which makes no parts
		r = memoryReport{report: r, options: o, log: console.Log(), meminfo: cmp.Or(env.MemInfo, memInfo)}
	}
	ctx, stop := withTimeout(ctx, o.Timeout)
	defer stop()
	if !o.DryRun { // which has nothing to give back
		defer sayInterrupted(ctx, console.Log())()
	}
	sum, err := migrate(ctx, env, o, console.Log(), r)
	err = withNextStep(ctx, timedOut(ctx, sum, err))
	if _, batch := errors.AsType[*workflow.BatchError](err); err == nil || batch || o.JSON || ctx.Err() != nil {
		r.Summary(sum, err)
	}
	return err
}

func migrate(ctx context.Context, env Env, o MigrateOptions, log *slog.Logger, r report) (_ workflow.Summary, err error) {
	m, err := wireMigrate(ctx, env, o, log)
	if err != nil {
		return workflow.Summary{}, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	m.Report = r
	if note := m.Codec.Note(); note != "" {
		r.Note("", note)
	}
	if !o.DryRun {
		m.sweep(ctx)
	}
	sum, err := m.does(o)(ctx, workflow.Subject{All: o.All, One: o.One, IDs: o.IDs})
	m.tellProven(ctx, r, sum.Proven)
	sum.Retries = m.session.Retries()
	return sum, err
}

// does is what was asked for.
func (m *migrator) does(o MigrateOptions) func(context.Context, workflow.Subject) (workflow.Summary, error) {
	switch {
	case o.DryRun && o.ValidateOnly:
		return m.DryRunValidation
	case o.DryRun:
		return m.DryRun
	case o.ValidateOnly:
		return m.Validate
	}
	return m.Migrate
}

// close ends the state file, and names what stays in it: a kept volume until
// somebody takes it away, and all else that could not be taken back.
func (m *migrator) close() error {
	if m.State == nil {
		return nil
	}
	left := m.State.Left()
	if err := m.State.Close(); err != nil {
		return err
	}
	for _, e := range left {
		if _, below := workflow.KeptBelow(left, e); below {
			continue // it goes with its volume
		}
		if e.Fields["kept"] != "" { // nothing went wrong
			m.Log.Info("kept, as was asked for", "kind", e.Kind, "what", e.What(), "command", e.Hint())
			continue
		}
		m.Log.Warn("stays behind, kept in the state file", "kind", e.Kind, "what", e.What(), "reason", e.Reason, "command", e.Hint(), "file", m.State.Path())
	}
	return nil
}

// argsForState is what the state file tells of this run: nothing in it is secret.
func argsForState(o MigrateOptions) []string {
	args := []string{"migrate", "--bucket", o.Bucket, "--tag", o.Tag}
	if o.ValidateOnly {
		args[0] = "validate"
	}
	if o.Image {
		args = append(args, "--dd")
	}
	switch {
	case o.All:
		args = append(args, "--all")
	case o.One:
		args = append(args, "--one")
	}
	for _, id := range o.IDs {
		args = append(args, string(id))
	}
	return args
}

// regionMismatch says why volumes cannot be used here.
func regionMismatch(here, asked string) error {
	return fmt.Errorf("this instance is in %s, the snapshots are looked for in %s: a volume cannot be attached across regions", here, asked)
}
