package cli

import (
	"errors"
	"fmt"
	"syscall"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// jsonTag is what came of one snapshot of a plan.
type jsonTag struct {
	jsonHead
	Account  string             `json:"account"`
	Region   string             `json:"region"`
	Volume   snapshot.VolumeID  `json:"volume"`
	Snapshot snapshot.ID        `json:"snapshot"`
	Tag      string             `json:"tag"`
	Outcome  analyze.TagOutcome `json:"outcome"`
	Why      string             `json:"why,omitempty"`
	Problem  *jsonError         `json:"problem,omitempty"`
}

// print writes the report on standard output, and what became of a plan.
func (r *analyzing) print(report cost.Report, plan cost.Plan, tags []analyze.Tagging) error {
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
			err = r.printTags(out, report, plan, tags)
		}
	}
	if errors.Is(err, syscall.EPIPE) { // as of head: who reads it has enough
		r.log.Debug("standard output is closed", "err", err)
		return nil
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("standard output: %w", err), "nothing else is lost: run it again; --html and --plan were written if they were asked for")
	}
	return nil
}

func spokenWhy(t analyze.Tagging) string {
	if t.Err != nil {
		return t.Err.Error()
	}
	return t.Why
}
