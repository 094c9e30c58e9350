package cli

import (
	"fmt"
	"io"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/workflow"
)

// jsonTag is what came of one snapshot of a plan.
type jsonTag struct {
	jsonHead
	Account  string              `json:"account"`
	Region   string              `json:"region"`
	Volume   snapshot.VolumeID   `json:"volume"`
	Snapshot snapshot.ID         `json:"snapshot"`
	Tag      string              `json:"tag"`
	Outcome  workflow.TagOutcome `json:"outcome"`
	Why      string              `json:"why,omitempty"`
	Problem  *jsonError          `json:"problem,omitempty"`
}

// print writes the report on standard output, and what became of a plan to move
// snapshots to a class.
func (r *analyzing) print(report cost.Report, class cost.Class, tags []workflow.Tagging) error {
	out := r.console.Results()
	var err error
	switch r.o.Output {
	case "json": // the total is the last line
		enc := lineEncoder(out)
		for _, t := range tags {
			line := jsonTag{head("tag"), t.Account, t.Region, t.Volume, t.Snapshot, r.o.Tag, t.Outcome, t.Why, jsonErr(t.Err)}
			if err = enc.Encode(line); err != nil {
				break
			}
		}
		if err == nil {
			err = print.JSON(out, report)
		}
	case "csv":
		for _, t := range tags {
			r.log.Info("tag", "snapshot", t.Snapshot, "region", t.Region, "outcome", string(t.Outcome), "reason", spokenWhy(t))
		}
		err = print.CSV(out, report)
	default:
		if err = print.Text(out, report); err == nil && r.o.TagPlan {
			err = r.printTags(out, class, tags)
		}
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("standard output: %w", err), "nothing else is lost: run it again; --html and --plan were written if they were asked for")
	}
	return nil
}

func spokenWhy(t workflow.Tagging) string {
	if t.Err != nil {
		return t.Err.Error()
	}
	return t.Why
}

// printTags tells a person what was tagged, or would be, and what moves it.
func (r *analyzing) printTags(out io.Writer, class cost.Class, tags []workflow.Tagging) error {
	count := map[workflow.TagOutcome]int{}
	text := "\n"
	for _, t := range tags {
		count[t.Outcome]++
		text += fmt.Sprintf("%-11s  %s  %s  %s", t.Outcome, t.Snapshot, t.Region, t.Volume)
		if why := spokenWhy(t); why != "" {
			text += ": " + ui.Visible(why)
		}
		text += "\n"
		if next := hint.Of(t.Err); next != "" {
			text += fmt.Sprintf("%-11s  hint: %s\n", "", ui.Visible(next))
		}
	}
	switch would := count[workflow.TagWould]; {
	case len(tags) == 0:
		text += "nothing to tag: no move pays back\n"
	case would > 0:
		text += fmt.Sprintf("%s would be tagged %s=migrate; nothing was changed, --yes does it\n", plural(would, "snapshot"), ui.Visible(r.o.Tag))
	default:
		text += fmt.Sprintf("%d tagged %s=migrate, %d passed over, %d failed\n",
			count[workflow.TagDone], ui.Visible(r.o.Tag), count[workflow.TagPassed], count[workflow.TagFailed])
	}
	if count[workflow.TagDone]+count[workflow.TagWould] > 0 {
		tag := ""
		if r.o.Tag != "snap-to-s3" {
			tag = " --tag " + hint.Quote(r.o.Tag)
		}
		text += fmt.Sprintf("what is tagged is moved by: snap-to-s3 migrate --all%s --storage-class %s --bucket NAME\n", tag, class)
		text += "nothing is saved before the snapshots are deleted, which migrate does not do: validate names the commands\n"
	}
	_, err := io.WriteString(out, text)
	return err
}
