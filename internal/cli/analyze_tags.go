package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
)

// printTags tells a person what was tagged, or would be, and what moves it.
func (r *analyzing) printTags(out io.Writer, report cost.Report, plan cost.Plan, tags []analyze.Tagging) error {
	text := "\n" + tagLines(tags)
	if plan.Tagged > 0 {
		text += fmt.Sprintf("tagged already, and not named here: %s of those that pay back\n", words.Count(plan.Tagged, "snapshot"))
	}
	count := map[analyze.TagOutcome]int{}
	for _, t := range tags {
		count[t.Outcome]++
	}
	switch would := count[analyze.TagWould]; {
	case len(tags) == 0 && plan.Tagged > 0:
	case len(tags) == 0:
		text += keptLines(plan.Kept)
	case would > 0:
		text += fmt.Sprintf("%s would be tagged %s=migrate; nothing was changed, --yes does it\n", words.Count(would, "snapshot"), ui.Visible(r.o.Tag))
	default:
		text += fmt.Sprintf("%d tagged %s=migrate, %d passed over, %d failed\n",
			count[analyze.TagDone], ui.Visible(r.o.Tag), count[analyze.TagPassed], count[analyze.TagFailed])
	}
	_, err := io.WriteString(out, text+r.moves(report, plan, tags))
	return err
}

// tagLines is a line a snapshot, with its account where there are several.
func tagLines(tags []analyze.Tagging) string {
	several := slices.ContainsFunc(tags, func(t analyze.Tagging) bool { return t.Account != tags[0].Account })
	var text strings.Builder
	for _, t := range tags {
		account := ""
		if several {
			account = ui.Visible(t.Account) + "  "
		}
		fmt.Fprintf(&text, "%-11s  %s%s  %s  %s", t.Outcome, account, t.Snapshot, ui.Visible(t.Region), t.Volume)
		if why := spokenWhy(t); why != "" {
			text.WriteString(": " + ui.Visible(why))
		}
		text.WriteString("\n")
		if next := hint.Of(t.Err); next != "" {
			fmt.Fprintf(&text, "%-11s  hint: %s\n", "", ui.Visible(next))
		}
	}
	return text.String()
}

// keptLines is why nothing of a plan is to be moved, a line a reason.
func keptLines(kept []cost.Kept) string {
	if len(kept) == 0 {
		return "nothing to tag: there are no snapshots\n"
	}
	of := map[string][]cost.Kept{}
	for _, k := range kept {
		of[k.Why] = append(of[k.Why], k)
	}
	text := "nothing to tag:\n"
	for _, why := range slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(of[b]), len(of[a])), cmp.Compare(a, b))
	}) {
		about := words.Count(len(of[why]), "volume")
		if one := of[why][0]; len(of[why]) == 1 {
			about = cmp.Or(string(one.Volume), "unknown volumes") + " in " + one.Region
		}
		text += fmt.Sprintf("  %s: %s\n", ui.Visible(about), ui.Visible(why))
	}
	return text
}

// area is one account in one region.
type area struct{ account, region string }

// moves are the commands that move what is tagged. migrate works on the snapshots of
// the account and the region that its instance is in.
func (r *analyzing) moves(report cost.Report, plan cost.Plan, tags []analyze.Tagging) string {
	there := map[area]bool{}
	for _, t := range tags {
		if t.Outcome == analyze.TagDone || t.Outcome == analyze.TagWould {
			there[area{t.Account, t.Region}] = true
		}
	}
	if plan.Tagged > 0 {
		for _, region := range report.Regions {
			for _, v := range region.Volumes {
				if slices.ContainsFunc(v.Snapshots, func(s cost.Snapshot) bool { return s.Work == cost.WorkPlanned && s.Movable }) {
					there[area{v.Account, v.Region}] = true
				}
			}
		}
	}
	if len(there) == 0 {
		return ""
	}
	tag := ""
	if r.o.Tag != snapshot.UsualTag {
		tag = " --tag " + hint.Quote(r.o.Tag)
	}
	text := "what is tagged is moved by, on an instance of that account in that region:\n"
	for _, at := range slices.SortedFunc(maps.Keys(there), func(a, b area) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.region, b.region))
	}) {
		text += fmt.Sprintf("  account %s: snap-to-s3 migrate --all --region %s%s --storage-class %s --bucket NAME\n",
			ui.Visible(at.account), hint.Quote(ui.Visible(at.region)), tag, plan.Class)
	}
	return text + "nothing is saved before the snapshots are deleted, which migrate does not do: validate names the commands\n"
}
