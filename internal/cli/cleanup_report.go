package cli

import (
	"fmt"
	"io"
	"log/slog"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// cleanupReport tells what was found and what became of it, on standard output.
type cleanupReport struct {
	out     io.Writer
	log     *slog.Logger
	options CleanupOptions
	group   workflow.Group // of the last thing told of
	would   int            // things that --yes would take away
}

type jsonLeftover struct {
	jsonHead
	Group    workflow.Group `json:"group"`
	Kind     string         `json:"kind"`
	ID       string         `json:"id,omitempty"`
	What     string         `json:"what"`
	Snapshot snapshot.ID    `json:"snapshot,omitempty"`
	Run      string         `json:"run,omitempty"`
	Host     string         `json:"host,omitempty"`
	Age      int64          `json:"age,omitempty"`
	Would    string         `json:"would,omitempty"`
	Fate     workflow.Fate  `json:"fate"`
	Problem  *jsonError     `json:"problem,omitempty"`
	Command  string         `json:"command,omitempty"`
	File     string         `json:"file,omitempty"`
}

type jsonCleanSummary struct {
	jsonHead
	Found   int        `json:"found"`
	Would   int        `json:"would"`
	Removed int        `json:"removed"`
	Spared  int        `json:"spared"`
	Left    int        `json:"left"`
	Seconds float64    `json:"seconds"`
	Nothing []string   `json:"nothing,omitempty"`
	Problem *jsonError `json:"problem,omitempty"`
}

// write writes a part of the results. If standard output is gone the work still
// goes on and the log says so.
func (r *cleanupReport) write(text string) {
	if _, err := io.WriteString(r.out, text); err != nil {
		r.log.Warn("standard output cannot be written", "err", err)
	}
}

func (r *cleanupReport) line(v any) {
	if err := lineEncoder(r.out).Encode(v); err != nil {
		r.log.Warn("standard output cannot be written", "err", err)
	}
}

// Leftover tells of one thing.
func (r *cleanupReport) Leftover(l workflow.Leftover) {
	if l.Fate == workflow.Found && l.Would != "" {
		r.would++
	}
	if r.options.JSON {
		r.line(jsonLeftover{
			head("leftover"), l.Group, l.Kind, l.ID, l.What, l.Snapshot, l.Run, l.Host, int64(l.Age.Seconds()), l.Would, l.Fate,
			jsonErr(l.Err), l.Command, l.File,
		})
		return
	}
	text := ""
	if l.Group != r.group {
		r.group = l.Group
		text = groupText(l.Group) + ":\n"
	}
	text += fmt.Sprintf("  %-14s %s%s\n", fateText(l), ui.Visible(l.What), ui.Visible(whoseText(l)))
	if l.Err != nil {
		text += fmt.Sprintf("  %-14s %s\n", "", ui.Visible(l.Err.Error()))
		if next := hint.Of(l.Err); next != "" {
			text += fmt.Sprintf("  %-14s hint: %s\n", "", ui.Visible(next))
		}
	}
	done := l.Fate == workflow.Removed || l.Fate == workflow.Gone || l.Fate == workflow.Found && l.Would != ""
	if l.Command != "" && !done {
		text += fmt.Sprintf("  %-14s by hand: %s\n", "", ui.Visible(l.Command))
	}
	r.write(text)
}

func groupText(g workflow.Group) string {
	switch g {
	case workflow.GroupDead:
		return "Of killed or failed runs of this machine"
	case workflow.GroupStale:
		return "Of runs on any machine that have not renewed their owner tag for 60 minutes"
	case workflow.GroupUpload:
		return "Uploads begun over a day ago"
	case workflow.GroupNobody:
		return "Without an owner, as the predecessor makes them"
	case workflow.GroupKept:
		return "Kept by --keep-temp-volumes; this costs money, and goes if the volume is named with --yes"
	}
	return string(g)
}

// fateText is what is or would be done, in a word or two.
func fateText(l workflow.Leftover) string {
	switch {
	case l.Fate == workflow.Found && l.Would != "":
		return "would " + l.Would
	case l.Fate == workflow.Removed:
		switch l.Would {
		case "delete":
			return "deleted"
		case "abort":
			return "aborted"
		case "give back":
			return "given back"
		case "detach":
			return "detached"
		case "unmount":
			return "unmounted"
		}
		return "removed"
	case l.Fate == workflow.Gone:
		return "is gone"
	case l.Fate == workflow.Spared:
		return "left alone"
	}
	return "stays"
}

func whoseText(l workflow.Leftover) string {
	text := ""
	if l.Run != "" {
		text = ", run " + l.Run
	}
	if l.Host != "" && l.Group != workflow.GroupDead {
		text += " on " + l.Host
	}
	if l.Age > 0 {
		age := " old"
		if l.Group == workflow.GroupStale {
			age = " without a sign of life"
		}
		text += ", " + ui.Duration(l.Age) + age
	}
	return text
}

// Summary writes the last line, and before it of which ids there is nothing.
func (r *cleanupReport) Summary(s workflow.CleanSummary, err error) {
	if !r.options.JSON {
		for _, id := range s.Nothing {
			r.write(ui.Visible(id) + ": nothing of it is left behind, or it is in another region or account\n")
		}
	}
	switch {
	case r.options.JSON:
		r.line(jsonCleanSummary{head("summary"), s.Found, r.would, s.Removed, s.Spared, s.Left, s.Elapsed.Seconds(), s.Nothing, jsonErr(err)})
		return
	case r.options.Yes:
		r.write(fmt.Sprintf("%d removed, %d gone already or somebody's by now, %d stay\n", s.Removed, s.Spared, s.Left+s.Found))
	case s.Found == 0:
		r.write("nothing was found\n")
	default:
		r.write(fmt.Sprintf("%s would be taken away, %d stay; nothing was changed\n", words.Count(r.would, "thing"), s.Found-r.would))
		if r.would > 0 {
			r.write("add --yes to do it\n")
		}
	}
	if r.options.Bucket == "" {
		r.log.Info("unfinished uploads were not looked for: name the bucket with --bucket")
	}
}
