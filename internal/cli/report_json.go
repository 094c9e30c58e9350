package cli

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/workflow"
)

// jsonVersion is the "v" of every line; docs/json.md has the members. It changes
// only when a member changes its meaning or goes.
const jsonVersion = 1

// jsonReport writes JSON Lines on standard output, one for each plan, object,
// snapshot and note, and the summary last. Logs and progress stay on standard
// error.
type jsonReport struct {
	console *ui.Console
	log     *slog.Logger
	options MigrateOptions
}

func newJSONReport(c *ui.Console, o MigrateOptions) *jsonReport {
	return &jsonReport{console: c, log: c.Log(), options: o}
}

func lineEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

type jsonHead struct {
	V    int    `json:"v"`
	Type string `json:"type"`
}

func head(kind string) jsonHead { return jsonHead{jsonVersion, kind} }

type jsonError struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func jsonErr(err error) *jsonError {
	if err == nil {
		return nil
	}
	return &jsonError{err.Error(), hint.Of(err)}
}

// jsonLeft is a thing that stays, and what takes it away.
type jsonLeft struct {
	Error   string `json:"error"`
	Command string `json:"command,omitempty"`
}

// jsonLeftOf: errors that hold a command of their own may have been given another
// next step.
func jsonLeftOf(err error) jsonLeft {
	command := hint.Of(err)
	if left, ok := errors.AsType[*objstore.LeftBehindError](err); ok {
		command = left.Command
	}
	return jsonLeft{err.Error(), command}
}

type jsonPlan struct {
	jsonHead
	Snapshot snapshot.ID       `json:"snapshot"`
	Volume   snapshot.VolumeID `json:"volume"`
	Size     int64             `json:"size"`
	Key      string            `json:"key,omitempty"`
	Keys     []string          `json:"keys,omitempty"`
	Trees    bool              `json:"each_partition,omitempty"`
	Bound    int64             `json:"stored_at_most"`
	Cost     jsonCost          `json:"cost"`
	Others   []string          `json:"others,omitempty"`
	Problem  *jsonError        `json:"problem,omitempty"`
}

type jsonPart struct {
	jsonHead
	Snapshot  snapshot.ID       `json:"snapshot"`
	Partition int               `json:"partition"`
	Content   string            `json:"content"`
	Size      int64             `json:"size"`
	Plan      workflow.PartPlan `json:"plan"`
	Why       string            `json:"why,omitempty"`
	Entries   int64             `json:"entries,omitempty"`
	Files     int64             `json:"files,omitempty"`
	FileBytes int64             `json:"file_bytes,omitempty"`
}

type jsonObject struct {
	jsonHead
	Snapshot     snapshot.ID   `json:"snapshot"`
	Role         workflow.Role `json:"role"`
	Bucket       string        `json:"bucket"`
	Key          string        `json:"key"`
	Size         int64         `json:"size"`
	PlainSize    int64         `json:"plain_size,omitempty"`
	ETag         string        `json:"etag,omitempty"`
	CRC64NVME    string        `json:"crc64nvme,omitempty"`
	StorageClass string        `json:"storage_class"`
}

type jsonSnapshot struct {
	jsonHead
	Snapshot   snapshot.ID       `json:"snapshot"`
	Volume     snapshot.VolumeID `json:"volume"`
	Outcome    workflow.Outcome  `json:"outcome"`
	Key        string            `json:"key,omitempty"`
	Keys       []string          `json:"keys,omitempty"`
	Entries    int64             `json:"entries,omitempty"`
	PlainSize  int64             `json:"plain_size"`
	StoredSize int64             `json:"stored_size"`
	Seconds    float64           `json:"seconds"`
	Different  int64             `json:"differences,omitempty"`
	Unproven   []string          `json:"unproven,omitempty"`
	Others     []string          `json:"others,omitempty"`
	LeftOut    []string          `json:"left_out,omitempty"`
	Problem    *jsonError        `json:"problem,omitempty"`
	Left       []jsonLeft        `json:"left,omitempty"`
}

type jsonNote struct {
	jsonHead
	Snapshot snapshot.ID `json:"snapshot,omitempty"`
	Text     string      `json:"text"`
}

type jsonSummary struct {
	jsonHead
	Migrated   int        `json:"migrated"`
	Kept       int        `json:"kept"`
	Validated  int        `json:"validated"`
	Failed     int        `json:"failed"`
	Skipped    int        `json:"skipped"`
	Planned    int        `json:"planned"`
	PlainSize  int64      `json:"plain_size"`
	StoredSize int64      `json:"stored_size"`
	Left       int        `json:"left"`
	Retries    int64      `json:"retries"`
	PartMemory int64      `json:"part_memory"`
	PartSpool  int64      `json:"part_spool,omitempty"`
	Cost       jsonCost   `json:"cost"`
	Seconds    float64    `json:"seconds"`
	Problem    *jsonError `json:"problem,omitempty"`
}

func (r *jsonReport) line(v any) {
	// An encoder of its own for each: one that has failed once fails for ever.
	if err := lineEncoder(r.console.Results()).Encode(v); err != nil {
		r.log.Warn("standard output cannot be written", "err", err)
	}
}

// Start implements workflow.Reporter.
func (r *jsonReport) Start(s snapshot.Snapshot, total int64) workflow.Task {
	return r.console.Task(string(s.ID), total)
}

// Plan implements workflow.Reporter.
func (r *jsonReport) Plan(p workflow.PlanItem) {
	key, keys := onlyOf(p.Keys), p.Keys
	if !r.options.ValidateOnly { // it is the one that all are like
		keys = nil
	}
	r.line(jsonPlan{head("plan"), p.Snapshot.ID, p.Snapshot.VolumeID, p.Snapshot.Size, key, keys, p.Trees, p.Bound, costOf(p.Cost), p.Others, jsonErr(p.Problem)})
}

// Cost implements workflow.Reporter: the summary repeats it.
func (r *jsonReport) Cost(t workflow.Totals) {
	r.log.Info("estimate", "snapshots", t.Snapshots, "bytes", t.Size, "one_time", t.Cost.OneTime().Decimal())
}

// Part implements workflow.Reporter.
func (r *jsonReport) Part(p workflow.PartItem) {
	r.line(jsonPart{head("partition"), p.Snapshot, int(p.Part), p.Content, p.Size, p.Plan, p.Why, p.Entries, p.Files, p.Bytes})
}

// Object implements workflow.Reporter.
func (r *jsonReport) Object(o workflow.ObjectResult) {
	class := o.Info.StorageClass
	if class == "" {
		class = "STANDARD"
	}
	r.line(jsonObject{head("object"), o.Snapshot, o.Role, o.Bucket, o.Info.Key, o.Info.Size, o.Plain, o.Info.ETag, o.Info.CRC64NVME, class})
}

// Note implements workflow.Reporter.
func (r *jsonReport) Note(id snapshot.ID, text string) {
	r.line(jsonNote{head("note"), id, text})
}

// Finished implements workflow.Reporter.
func (r *jsonReport) Finished(s workflow.SnapshotResult) {
	var left []jsonLeft
	for _, err := range s.Left {
		left = append(left, jsonLeftOf(err))
	}
	r.line(jsonSnapshot{
		head("snapshot"), s.Snapshot.ID, s.Snapshot.VolumeID, s.Outcome, onlyOf(s.Keys), s.Keys, s.Entries, s.Plain, s.Stored,
		s.Elapsed.Seconds(), s.Differences, s.Unproven, s.Others, s.LeftOut, jsonErr(s.Err), left,
	})
}

// onlyOf is the key of an image, or of a disk that is one filesystem; "" where there
// are several archives, or none.
func onlyOf(keys []string) string {
	if len(keys) != 1 {
		return ""
	}
	return keys[0]
}

// Summary writes the last line, whatever the run came to.
func (r *jsonReport) Summary(s workflow.Summary, err error) {
	need, planErr := memoryOf(r.options, s.Cost)
	if planErr != nil {
		need = partMemory{} // told of with the snapshot that it is of
	}
	r.line(jsonSummary{
		head("summary"), s.Migrated, s.Kept, s.Validated, s.Failed, s.Skipped, s.Planned, s.Plain, s.Stored,
		s.Left, s.Retries, need.Total, need.Spool, costOf(s.Cost), s.Elapsed.Seconds(), jsonErr(err),
	})
}
