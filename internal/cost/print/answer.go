package print

import (
	"fmt"
	"slices"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
)

// Answer is the report in one sentence: what to do and what it saves, or why that
// is not known. Beside says what it leaves out.
func Answer(r cost.Report) string {
	best, found := Best(r.Options, r.Best)
	switch {
	case r.Total.Snapshots == 0:
		return "No snapshots are paid for"
	case found:
		return fmt.Sprintf("Move %s of %s to %s: save %s a month, paid back in %s", words.Count(best.Snapshots, "snapshot"), words.Count(best.Volumes, "volume"),
			best.Class.Name(), about(r.Currency, best.Saving), words.Count(best.BreakEven, "month"))
	case len(r.Options) == 0 && len(r.Unreckoned) > 0:
		return "What moving snapshots saves is not known: " + ui.Visible(r.Unreckoned[0].Why)
	case !leftToMove(r):
		return "No snapshots are left to be moved"
	case len(r.Options) == 0:
		return kept(r) + ": none of them can be moved"
	case r.TooSoon():
		return fmt.Sprintf("%s: no move to S3 pays back within %s while both copies are paid for %s", kept(r), words.Count(r.Payback, "month"), words.Count(r.Overlap, "day"))
	case r.Payback > 0:
		return kept(r) + ": moving them does not pay back within " + words.Count(r.Payback, "month")
	}
	return kept(r) + ": moving them saves nothing"
}

// kept are the snapshots that are not to be moved, as far as that is known.
func kept(r cost.Report) string {
	switch {
	case len(r.Unreckoned) > 0:
		return "Keep the snapshots that could be reckoned with"
	case r.Deletable.Snapshots > 0:
		return "Keep the snapshots that are not validated"
	}
	return "Keep the snapshots"
}

// Beside are the lines that belong to the answer: what deleting saves, what another
// choice of classes would save, and what the answer does not know or cannot do.
func Beside(r cost.Report) []string {
	var all []string
	if deletable := Deletable(r); deletable != "" {
		all = append(all, deletable)
	}
	best, found := Best(r.Options, r.Best)
	if found && r.OwnClasses.Estimate > best.Saving.Estimate {
		all = append(all, fmt.Sprintf("With a class of its own for each volume: save %s a month. This answer, --plan and --tag-plan take one class for all, which --storage-class names",
			about(r.Currency, r.OwnClasses)))
	}
	if found && best.Class == cost.EBSArchive {
		all = append(all, archiving(r))
	}
	if found && r.Source == cost.ReadDirect && best.Class != cost.EBSArchive {
		all = append(all, "That is with reads through the EBS direct APIs: "+pricedOnly)
	}
	if !found && slices.ContainsFunc(volumes(r), func(v cost.Volume) bool { return len(v.Options) > 0 && len(v.Unpriced) > 0 }) {
		all = append(all, "Some classes have no price, and might save something: --prices FILE reads prices")
	}
	unknown := r.Unreckoned
	if !found && len(r.Options) == 0 && len(unknown) > 0 && r.Total.Snapshots > 0 {
		unknown = unknown[1:] // the answer
	}
	for _, u := range unknown {
		all = append(all, fmt.Sprintf("Not in this answer: %s (%s): %s", words.Count(u.Sum.Snapshots, "snapshot"), perMonth(r.Currency, u.Sum), ui.Visible(u.Why)))
	}
	return all
}

// archiving says who archives, since migrate does not, and what migrate saves.
func archiving(r cost.Report) string {
	text := "migrate does not archive snapshots"
	if p := r.Plan(cost.PlanOptions{}); p.Class != "" {
		text += fmt.Sprintf(", and --plan has what %s saves: %s a month", p.Class.Name(), r.Currency.Format(p.Saving))
	}
	for _, v := range volumes(r) {
		if best, found := Best(v.Options, v.Best); found && best.Class == cost.EBSArchive {
			return text + "; for each of them: " + ui.Visible(cost.ArchiveCommand(v.Region, v.Moved(best)[0].ID))
		}
	}
	return text
}

// about is an amount in a sentence.
func about(c cost.Currency, m cost.MoneyRange) string {
	return roughly(m.Exact(), m.Low == m.Estimate) + c.Format(m.Estimate)
}

func volumes(r cost.Report) []cost.Volume {
	var all []cost.Volume
	for _, region := range r.Regions {
		all = append(all, region.Volumes...)
	}
	return all
}
