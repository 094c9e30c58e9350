package cli

import (
	"strings"
	"sync"
	"unicode/utf8"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// mostShown is how many differences of a snapshot are log lines; --output json has
// all of them.
const mostShown = 20

// firstDifferences counts the differences that a person is shown of each snapshot.
// The zero value is ready.
type firstDifferences struct {
	mu    sync.Mutex
	shown map[snapshot.ID]int
}

// next tells whether one more is shown, and whether it is the first that is not.
func (f *firstDifferences) next(id snapshot.ID) (show, enough bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shown == nil {
		f.shown = map[snapshot.ID]int{}
	}
	f.shown[id]++
	return f.shown[id] <= mostShown, f.shown[id] == mostShown+1
}

// Difference implements workflow.Reporter.
func (r *textReport) Difference(d workflow.Difference) {
	show, enough := r.shown.next(d.Snapshot)
	switch {
	case show:
		r.log.Error("difference", "snapshot", string(d.Snapshot), "what", d.String())
	case enough:
		r.log.Error("there are more differences; --output json lists all", "snapshot", string(d.Snapshot))
	}
}

// Proven implements report.
func (r *textReport) Proven(all []provenItem, seen provenHolds) {
	var free, partly, held []provenItem
	for _, p := range all {
		switch {
		case len(p.Holds) > 0:
			held = append(held, p)
		case len(p.Unproven) > 0:
			partly = append(partly, p)
		default:
			free = append(free, p)
		}
	}
	unseen := ""
	switch {
	case !seen.Looked:
		unseen = "; what holds them was not seen"
	case len(seen.Unknown) > 0:
		unseen = "; not all that may hold them was seen, see below"
	}
	if len(free) > 0 {
		r.say("%s proven and may be deleted%s%s:", are(len(free)), spokenBill(free), unseen)
		r.provenLines(free)
	}
	if len(partly) > 0 {
		r.say("with %s something that is in no archive would be lost, named below each; all else of them is proven%s%s:",
			words.Count(len(partly), "snapshot"), spokenBill(partly), unseen)
		r.provenLines(partly)
	}
	if len(held) > 0 {
		r.say("%s proven and held by something else:", are(len(held)))
		for _, p := range held {
			r.say("  %s  %s", p.Snapshot.ID, ui.Visible(spokenHolds(p.Holds)))
		}
	}
	for _, text := range seen.Unknown {
		r.say("not looked at: %s", ui.Visible(text))
	}
}

// are is a number of snapshots and the verb.
func are(n int) string {
	if n == 1 {
		return "1 snapshot is"
	}
	return words.Count(n, "snapshot") + " are"
}

// provenLines are the commands that delete snapshots, each after what would be lost.
func (r *textReport) provenLines(all []provenItem) {
	for _, p := range all {
		for _, text := range p.Unproven {
			r.say("  %s  lost: %s", p.Snapshot.ID, ui.Visible(text))
		}
		r.say("  %s", p.Command)
		if len(p.Others) > 0 {
			r.say("    other archives of it were not compared: %s", archivesOf(0, p.Others))
		}
	}
}

// spokenBill is what EBS bills for snapshots, as far as that is known.
func spokenBill(all []provenItem) string {
	var monthly cost.Money
	for _, p := range all {
		monthly = monthly.Plus(p.Monthly)
	}
	what := "them"
	if len(all) == 1 {
		what = "it"
	}
	switch text := monthly.String(); {
	case monthly <= 0:
		return ""
	case strings.HasPrefix(text, "<"):
		return " (EBS bills " + text + " a month for " + what + ")"
	default:
		return " (EBS bills up to " + text + " a month for " + what + ")"
	}
}

type jsonDifference struct {
	jsonHead
	Snapshot  snapshot.ID      `json:"snapshot,omitempty"`
	Key       string           `json:"key"`
	Partition int              `json:"partition,omitempty"`
	Between   workflow.Between `json:"between"`
	Kind      string           `json:"kind"`
	Path      *string          `json:"path,omitempty"`
	PathBytes []byte           `json:"path_b64,omitempty"`
	Offset    *int64           `json:"offset,omitempty"`
	Length    int64            `json:"length,omitempty"`
	Want      string           `json:"want,omitempty"`
	Got       string           `json:"got,omitempty"`
}

func differenceOf(d workflow.Difference) jsonDifference {
	j := jsonDifference{
		jsonHead: head("difference"), Snapshot: d.Snapshot, Key: d.Key, Partition: int(d.Part), Between: d.Between,
		Kind: d.Kind, Length: d.Len, Want: d.Want, Got: d.Got,
	}
	if d.HasPath {
		path := d.Path
		if path == "" {
			path = "."
		}
		if utf8.ValidString(path) {
			j.Path = &path
		} else {
			j.PathBytes = []byte(path)
		}
	}
	if d.Len > 0 {
		j.Offset = &d.Off
	}
	return j
}

// Difference implements workflow.Reporter.
func (r *jsonReport) Difference(d workflow.Difference) { r.line(differenceOf(d)) }

type jsonHold struct {
	Kind workflow.HoldKind `json:"kind"`
	By   string            `json:"by"`
}

type jsonProven struct {
	jsonHead
	Snapshot snapshot.ID `json:"snapshot"`
	Holds    []jsonHold  `json:"holds,omitempty"`
	Monthly  cost.Money  `json:"monthly_at_most,omitempty"`
	Unproven []string    `json:"unproven,omitempty"`
	Others   []string    `json:"others,omitempty"`
	Command  string      `json:"delete_with"`
}

// Proven implements report.
func (r *jsonReport) Proven(all []provenItem, seen provenHolds) {
	for _, p := range all {
		var holds []jsonHold
		for _, h := range p.Holds {
			holds = append(holds, jsonHold(h))
		}
		r.line(jsonProven{head("proven"), p.Snapshot.ID, holds, p.Monthly, p.Unproven, p.Others, p.Command})
	}
	for _, text := range seen.Unknown {
		r.line(jsonNote{jsonHead: head("note"), Text: "not looked at: " + text})
	}
}
