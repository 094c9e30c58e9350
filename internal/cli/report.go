package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// report is a workflow.Reporter with an end: the summary is its last line.
type report interface {
	workflow.Reporter
	// Proven is told, before the summary, of the snapshots that were validated, and how
	// far it was seen what holds them.
	Proven(all []provenItem, seen provenHolds)
	Summary(workflow.Summary, error)
}

// textReport tells a person: results on standard output, the rest as log lines.
type textReport struct {
	console *ui.Console
	out     io.Writer
	log     *slog.Logger
	options MigrateOptions
	shown   firstDifferences
}

func newTextReport(c *ui.Console, o MigrateOptions) *textReport {
	return &textReport{console: c, out: c.Results(), log: c.Log(), options: o}
}

// say writes one result. If standard output is gone the work still goes on and
// the log says so, once: see results.
func (r *textReport) say(format string, args ...any) {
	if _, err := fmt.Fprintf(r.out, format+"\n", args...); err != nil {
		r.log.Warn("standard output cannot be written", "err", err)
	}
}

// Start implements workflow.Reporter.
func (r *textReport) Start(s snapshot.Snapshot, total int64) workflow.Task {
	return r.console.Task(string(s.ID), total)
}

// Plan implements workflow.Reporter.
func (r *textReport) Plan(p workflow.PlanItem) {
	s, will := p.Snapshot, "migrated"
	if r.options.ValidateOnly {
		will = "validated"
	}
	if p.Problem != nil {
		r.say("%s  %9s  cannot be %s: %s", s.ID, ui.Bytes(s.Size), will, ui.Visible(p.Problem.Error()))
		if next := hint.Of(p.Problem); next != "" {
			r.say("%*s  hint: %s", len(s.ID), "", ui.Visible(next))
		}
		return
	}
	bound, each := fmt.Sprintf("at most %9s stored", ui.Bytes(p.Bound)), ""
	if r.options.ValidateOnly {
		bound = fmt.Sprintf("%9s to be read back", ui.Bytes(p.Bound))
	}
	if p.Trees {
		each = "  (one for each partition)"
	}
	r.say("%s  %9s  %s  %s  %s once  %s%s", s.ID, ui.Bytes(s.Size), bound,
		words.Count(p.Cost.RequestCount, "request"), p.Cost.OneTime(), archivesOf(0, p.Keys), each)
	if len(p.Others) > 0 {
		r.say("%*s  others would not be compared: %s", len(s.ID), "", archivesOf(0, p.Others))
	}
}

// Cost implements workflow.Reporter.
func (r *textReport) Cost(t workflow.Totals) {
	attrs := []any{"snapshots", t.Snapshots, "size", ui.Bytes(t.Size)}
	if t.Refused > 0 {
		attrs = append(attrs, "refused", t.Refused)
	}
	r.log.Info("estimate", attrs...)
	for _, line := range costLines(t.Cost) {
		r.log.Info(line)
	}
}

// Part implements workflow.Reporter.
func (r *textReport) Part(p workflow.PartItem) {
	attrs := []any{"snapshot", string(p.Snapshot)}
	if p.Part != layout.Whole {
		attrs = append(attrs, "partition", p.Part.String())
	}
	attrs = append(attrs, "content", cmp.Or(p.Content, "unknown"), "size", ui.Bytes(p.Size), "plan", string(p.Plan))
	if p.Why != "" {
		attrs = append(attrs, "why", p.Why)
	}
	if p.Plan == workflow.PlanFiles {
		attrs = append(attrs, "entries", p.Entries, "files", p.Files, "file_bytes", p.Bytes)
	}
	r.log.Info("partition", attrs...)
}

// Object implements workflow.Reporter.
func (r *textReport) Object(o workflow.ObjectResult) {
	log := r.log.Debug // entries and records: small, and always the same three
	if o.Role == workflow.RoleArchive {
		log = r.log.Info
	}
	log("stored", "snapshot", string(o.Snapshot), "key", o.Info.Key, "bytes", o.Info.Size)
}

// Note implements workflow.Reporter.
func (r *textReport) Note(id snapshot.ID, text string) {
	if id == "" {
		r.log.Info(text)
		return
	}
	r.log.Info(text, "snapshot", string(id))
}

// Finished implements workflow.Reporter.
func (r *textReport) Finished(s workflow.SnapshotResult) {
	id := s.Snapshot.ID
	switch s.Outcome {
	case workflow.Migrated:
		r.say("%s  migrated  %s read, %s stored in %s  %s", id, ui.Bytes(s.Plain), ui.Bytes(s.Stored), ui.Duration(s.Elapsed), archivesOf(s.Entries, s.Keys))
	case workflow.Validated:
		r.say("%s  validated %s read back in %s  %s", id, ui.Bytes(s.Stored), ui.Duration(s.Elapsed), archivesOf(s.Entries, s.Keys))
	case workflow.Kept:
		r.say("%s  kept      %s stored already  %s", id, ui.Bytes(s.Stored), archivesOf(s.Entries, s.Keys))
	case workflow.Skipped:
		r.say("%s  skipped   %s", id, ui.Visible(s.Err.Error()))
	case workflow.Failed:
		r.say("%s  failed    %s", id, ui.Visible(s.Err.Error()))
	}
	r.beside(id, s)
	next := hint.Of(s.Err)
	if s.Outcome == workflow.Failed && next == "" && !stopped(s.Err) && !errors.Is(s.Err, catalog.ErrLost) {
		next = lookCloser
	}
	if next != "" {
		r.say("%*s  hint: %s", len(id), "", ui.Visible(next))
	}
	for _, left := range s.Left {
		r.say("%s  left      %s", id, ui.Visible(left.Error()))
		if next := hint.Of(left); next != "" {
			r.say("%*s  hint: %s", len(id), "", ui.Visible(next))
		}
	}
}

// beside says what a result is not of.
func (r *textReport) beside(id snapshot.ID, s workflow.SnapshotResult) {
	for _, text := range s.LeftOut {
		r.say("%*s  left out  %s", len(id), "", ui.Visible(text))
	}
	if s.Outcome != workflow.Validated {
		return
	}
	for _, text := range s.Unproven {
		r.say("%*s  unproven  %s", len(id), "", ui.Visible(text))
	}
	if len(s.Others) > 0 {
		r.say("%*s  others    not compared: %s", len(id), "", archivesOf(0, s.Others))
	}
}

// stopped tells whether a person, or the limit that he set, ended the work.
func stopped(err error) bool {
	_, interrupted := errors.AsType[Interrupted](err)
	_, up := errors.AsType[timeUp](err)
	return interrupted || up
}

// archivesOf names the archives of a snapshot: by their key, or where there are
// several by how they differ.
func archivesOf(entries int64, keys []string) string {
	names := ""
	if entries > 0 {
		names = words.Count(entries, "name") + " in "
	}
	switch len(keys) {
	case 0:
		return "no archive: there is nothing on the disk"
	case 1:
		return names + ui.Visible(keys[0])
	}
	stem := keys[0]
	for _, key := range keys[1:] {
		for !strings.HasPrefix(key, stem) {
			stem = stem[:len(stem)-1]
		}
	}
	var ends []string
	for _, key := range keys {
		ends = append(ends, key[len(stem):])
	}
	return names + ui.Visible(fmt.Sprintf("%s{%s}", stem, strings.Join(ends, ",")))
}

// Summary writes the last line.
func (r *textReport) Summary(s workflow.Summary, _ error) {
	if r.options.DryRun {
		refused := ""
		if s.Failed > 0 {
			refused = fmt.Sprintf("; %d more cannot be done", s.Failed)
		}
		r.say("%s, %s%s; nothing was touched", words.Count(s.Planned, "snapshot"), ui.Bytes(s.Plain), refused)
		for _, line := range costLines(s.Cost) {
			r.say("%s", line)
		}
		if need, err := memoryOf(r.options, s.Cost); err == nil && !r.options.ValidateOnly {
			r.say("%s", need)
		}
		return
	}
	if r.options.ValidateOnly {
		r.say("%d validated, %d failed, %d skipped; %s read back in %s; retries: %d",
			s.Validated, s.Failed, s.Skipped, ui.Bytes(s.Stored), ui.Duration(s.Elapsed), s.Retries)
		return
	}
	if r.options.AndValidate {
		r.say("%d migrated and validated, %d failed, %d skipped; %s read, %s stored in %s; retries: %d",
			s.Validated, s.Failed, s.Skipped, ui.Bytes(s.Plain), ui.Bytes(s.Stored), ui.Duration(s.Elapsed), s.Retries)
		return
	}
	r.say("%d migrated, %d kept, %d failed, %d skipped; %s read, %s stored in %s; retries: %d",
		s.Migrated, s.Kept, s.Failed, s.Skipped, ui.Bytes(s.Plain), ui.Bytes(s.Stored), ui.Duration(s.Elapsed), s.Retries)
}
