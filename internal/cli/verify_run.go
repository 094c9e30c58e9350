package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// runVerify runs what verify was asked for, and reports it.
func runVerify(ctx context.Context, env Env, o VerifyOptions) error {
	level := slog.LevelInfo
	if o.Verbose {
		level = slog.LevelDebug
	}
	console := env.console(o.LogFormat, level)
	defer console.Close()
	r := &verifyReport{console: console, out: console.Results(), json: o.JSON, bucket: o.Bucket}
	ctx, stop := withTimeout(ctx, o.Timeout)
	defer stop()
	sum, err := verify(ctx, env, o, console.Log(), r)
	if _, batch := errors.AsType[*workflow.BatchError](err); err == nil || batch || o.JSON || ctx.Err() != nil {
		r.summary(sum, err)
	}
	return err
}

func verify(ctx context.Context, env Env, o VerifyOptions, log *slog.Logger, r *verifyReport) (workflow.VerifySummary, error) {
	session, err := aws.Load(ctx, aws.Options{
		Region: o.Region, S3Endpoint: o.EndpointURL, Log: log, Stall: env.Timing.Stall, MaxBackoff: env.Timing.MaxBackoff,
	})
	if err != nil {
		return workflow.VerifySummary{}, err
	}
	store, err := s3.New(session, o.Bucket, s3.Options{Log: log, Patience: env.Timing.CompletePatience})
	if err != nil {
		return workflow.VerifySummary{}, err
	}
	var seed [8]byte
	if _, err := io.ReadFull(rand.Reader, seed[:]); err != nil {
		return workflow.VerifySummary{}, fmt.Errorf("choose frames at random: %w", err)
	}
	v := &workflow.Verifier{
		Store: store, Bucket: o.Bucket, Report: r, Log: log, Depth: o.Depth, Sample: o.Sample,
		Seed: binary.LittleEndian.Uint64(seed[:]), SessionKeys: o.SessionKeys,
	}
	region, err := store.Region(ctx)
	if err != nil {
		return workflow.VerifySummary{}, err
	}
	v.Pricing = workflow.Pricing{Table: cost.Builtin(), BucketRegion: region}
	v.GPG, v.NoGPG = encrypt.Find(ctx, encrypt.Options{})
	return v.Verify(ctx, o.Subject)
}

// verifyReport tells a person or a program of a verification.
type verifyReport struct {
	console *ui.Console
	out     io.Writer
	json    bool
	bucket  string
	shown   firstDifferences
}

type jsonVerdict struct {
	jsonHead
	Snapshot  snapshot.ID     `json:"snapshot,omitempty"`
	Bucket    string          `json:"bucket"`
	Key       string          `json:"key"`
	Outcome   string          `json:"outcome"`
	Depth     workflow.Depth  `json:"depth"`
	Proven    workflow.Proven `json:"proven,omitempty"`
	Size      int64           `json:"size"`
	PlainSize int64           `json:"plain_size,omitempty"`
	Entries   int64           `json:"entries,omitempty"`
	Frames    int64           `json:"frames,omitempty"`
	Different int64           `json:"differences,omitempty"`
	Seconds   float64         `json:"seconds"`
	Problem   *jsonError      `json:"problem,omitempty"`
}

type jsonVerifySummary struct {
	jsonHead
	Verified  int        `json:"verified"`
	Different int        `json:"different"`
	Failed    int        `json:"failed"`
	Size      int64      `json:"size"`
	Seconds   float64    `json:"seconds"`
	Problem   *jsonError `json:"problem,omitempty"`
}

// Start implements workflow.VerifyReporter.
func (r *verifyReport) Start(name string, total int64) workflow.Task {
	return r.console.Task(ui.Visible(name), total)
}

// Difference implements workflow.VerifyReporter.
func (r *verifyReport) Difference(d workflow.Difference) {
	if r.json {
		r.line(differenceOf(d))
		return
	}
	switch show, enough := r.shown.next(d.Snapshot); {
	case show:
		r.console.Log().Error("difference", "what", d.String())
	case enough:
		r.console.Log().Error("there are more differences; --output json lists all", "snapshot", string(d.Snapshot))
	}
}

// Note implements workflow.VerifyReporter.
func (r *verifyReport) Note(text string) {
	if r.json {
		r.line(jsonNote{jsonHead: head("note"), Text: text})
		return
	}
	r.console.Log().Info(text) //nolint:sloglint // what a person is told comes from below, whole
}

// Verified implements workflow.VerifyReporter.
func (r *verifyReport) Verified(v workflow.ArchiveVerdict) {
	outcome := "verified"
	switch {
	case errors.Is(v.Err, workflow.ErrDifferent):
		outcome = "different"
	case v.Err != nil:
		outcome = "failed"
	}
	if r.json {
		r.line(jsonVerdict{
			head("archive"), v.Snapshot, r.bucket, v.Key, outcome, v.Depth, v.Proven, v.Size, v.Plain, v.Entries, v.Frames,
			v.Differences, v.Elapsed.Seconds(), jsonErr(v.Err),
		})
		return
	}
	if v.Err != nil {
		r.say("%-9s  %s", outcome, ui.Visible(v.Err.Error()))
		if next := hint.Of(v.Err); next != "" {
			r.say("%-9s  hint: %s", "", ui.Visible(next))
		}
		return
	}
	r.say("%-9s  %s  %s  %s", outcome, ui.Bytes(v.Size), ui.Visible(v.Key), spokenProof(v))
}

// spokenProof is what was shown of an archive, in a sentence.
func spokenProof(v workflow.ArchiveVerdict) string {
	switch v.Proven {
	case workflow.ProvenSample:
		return fmt.Sprintf("(%s read, as the entries say)", words.Count(v.Frames, "frame"))
	case workflow.ProvenRecord:
		return "(size and checksum are as recorded, its entries are whole; not read)"
	case workflow.ProvenSize:
		return "(its size is as recorded, its entries are whole; the store tells no checksum; not read)"
	case workflow.ProvenStored:
		return "(it decodes, and is as recorded; its entries were not decrypted)"
	case workflow.ProvenStream:
		return "(it can be decoded to its end; what is in it is not proven)"
	}
	if v.Entries > 0 {
		return fmt.Sprintf("(all of it, %s)", words.Count(v.Entries, "name"))
	}
	return "(all of it)"
}

func (r *verifyReport) summary(s workflow.VerifySummary, err error) {
	if r.json {
		r.line(jsonVerifySummary{head("summary"), s.Verified, s.Different, s.Failed, s.Bytes, s.Elapsed.Seconds(), jsonErr(err)})
		return
	}
	r.say("%d verified, %d different, %d failed; %s in %s", s.Verified, s.Different, s.Failed, ui.Bytes(s.Bytes), ui.Duration(s.Elapsed))
}

func (r *verifyReport) say(format string, args ...any) {
	if _, err := fmt.Fprintf(r.out, format+"\n", args...); err != nil {
		r.console.Log().Warn("standard output cannot be written", "err", err)
	}
}

func (r *verifyReport) line(v any) {
	if err := lineEncoder(r.out).Encode(v); err != nil {
		r.console.Log().Warn("standard output cannot be written", "err", err)
	}
}
