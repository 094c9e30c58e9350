// Package print says in text, CSV and JSON what a cost.Report holds. It decides
// how something is said, and computes nothing but sums to show.
package print

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/ui"
)

// Answer is the report in one sentence: what to do and what it saves.
func Answer(r cost.Report) string {
	best, found := Best(r.Options, r.Best)
	switch {
	case r.Total.Snapshots == 0:
		return "No snapshots are paid for"
	case found:
		about := ""
		if !best.Saving.Exact() {
			about = "about "
		}
		return fmt.Sprintf("Move %s of %s to %s: save %s%s a month, paid back in %s", Count(best.Snapshots, "snapshot"),
			Count(best.Volumes, "volume"), ClassName(best.Class), about, best.Saving.Estimate, Count(best.BreakEven, "month"))
	case len(r.Options) == 0 && len(r.Unknown) > 0:
		return "What moving snapshots would save cannot be said: prices are missing"
	case len(r.Options) == 0:
		return "Keep the snapshots: none of them can be moved"
	case r.Payback > 0:
		return "Keep the snapshots: moving them does not pay back within " + Count(r.Payback, "month")
	}
	return "Keep the snapshots: moving them saves nothing"
}

// Best is the option at an index that is -1 where there is none.
func Best(options []cost.Option, at int) (cost.Option, bool) {
	if at < 0 || at >= len(options) {
		return cost.Option{}, false
	}
	return options[at], true
}

// ClassName is a class as AWS names it.
func ClassName(c cost.Class) string {
	if c == cost.EBSArchive {
		return "EBS Snapshots Archive"
	}
	return string(c)
}

// What is what an option moves: "all 16", "oldest 4", "all 16, as increments".
func What(o cost.Option) string {
	which := "all"
	if o.Scope == cost.ScopeOldest {
		which = "oldest"
	}
	which += " " + strconv.Itoa(o.Snapshots)
	if o.Form == cost.Increments {
		which += ", as increments"
	}
	return which
}

// PaidBack is when an option has paid back: "month 3", or "never".
func PaidBack(o cost.Option) string {
	switch {
	case o.BreakEven == 0:
		return "never"
	case o.Latest == 0 && !o.Saving.Exact():
		return fmt.Sprintf("month %d, or never", o.BreakEven)
	case o.Latest > o.BreakEven:
		return fmt.Sprintf("month %d to %d", o.BreakEven, o.Latest)
	}
	return fmt.Sprintf("month %d", o.BreakEven)
}

// Amount is an amount that may not be known exactly: "$12.40", or
// "$12.40 ($10.00 to $15.20)".
func Amount(m cost.MoneyRange) string {
	if m.Exact() {
		return m.Estimate.String()
	}
	return fmt.Sprintf("%s (%s to %s)", m.Estimate, m.Low, m.High)
}

// Marks is what is to be known of a snapshot beside its size: why it cannot be
// moved, and how sure its size is. Marks come from outside, and are printable.
func Marks(s cost.Snapshot) []string {
	var all []string
	if s.Gone {
		all = append(all, "gone, in no sum")
	}
	for _, h := range s.Holds {
		if s.Archive == 0 || h != "archive tier" { // said with its size
			all = append(all, ui.Visible(h))
		}
	}
	if s.Archive > 0 {
		all = append(all, "archive tier: "+GB(s.Archive)+" GB")
	}
	if s.Average {
		all = append(all, "average")
	}
	if !s.Standard.Exact() {
		all = append(all, fmt.Sprintf("estimate: %s to %s GB", GB(s.Standard.Low), GB(s.Standard.High)))
	}
	return all
}

// Size is what a snapshot is billed for, in whichever tier it is, in bytes; of one
// that is gone, what it was.
func Size(s cost.Snapshot) int64 {
	if s.Gone {
		return s.Billed + s.Archive
	}
	return s.Standard.Estimate + s.Archive
}

// Change is what changed from the snapshot before to that at an index, as "52%";
// empty where there is none, or where that is not known.
func Change(v cost.Volume, at int) string {
	s := v.Snapshots[at]
	if at == 0 || v.Size <= 0 || v.ID == "" || s.Gone || s.Archive > 0 {
		return ""
	}
	return Percent(s.Percent, 100)
}

// Monthly is what snapshots cost a month, or that no price is known for them.
func Monthly(s cost.Sum) (amount string, known bool) {
	if s.Monthly.High == 0 && s.Standard.Estimate+s.Archive > 0 {
		return "no price", false
	}
	return s.Monthly.Estimate.String(), true
}

// VolumeName is the id of a volume, or what stands for none.
func VolumeName(v cost.Volume) string {
	if v.ID == "" {
		return "volume not known"
	}
	return ui.Visible(string(v.ID))
}

// About is what is known of a volume: "500GB, MySQL Slave DB" or "20GB, deleted".
func About(v cost.Volume) string {
	var parts []string
	if v.Size > 0 {
		parts = append(parts, fmt.Sprintf("%dGB", v.Size>>30))
	}
	if v.Name != "" {
		parts = append(parts, ui.Visible(v.Name))
	}
	if v.State == cost.VolumeDeleted {
		parts = append(parts, "deleted")
	}
	return strings.Join(parts, ", ")
}

// Assumptions are the terms that a report is made on, each a sentence.
func Assumptions(r cost.Report) []string {
	var all []string
	if p := r.Period; !p.From.IsZero() {
		all = append(all, fmt.Sprintf("bills from %s to %s; sizes are those of %s",
			day(p.From), day(p.To.AddDate(0, 0, -1)), day(p.Newest)))
	}
	ratio := "archives are taken not to compress"
	if r.Ratio.Plain > 0 && r.Ratio.Stored > 0 && r.Ratio.Plain != r.Ratio.Stored {
		how := "as given"
		if r.Ratio.Measured {
			how = "as archives in the bucket did"
		}
		ratio = fmt.Sprintf("archives are taken to compress %s:1, %s", strconv.FormatFloat(math.Round(100*float64(r.Ratio.Plain)/float64(r.Ratio.Stored))/100, 'f', -1, 64), how)
	}
	read := "snapshots are read from temporary volumes"
	if r.Source == cost.ReadDirect {
		read = "snapshots are read through the EBS direct APIs"
	}
	all = append(all, ratio, read)
	if r.Overlap > 0 {
		all = append(all, "snapshots are kept for "+Count(r.Overlap, "day")+" beside their archives, and paid for")
	} else {
		all = append(all, "each snapshot is deleted on the day it is moved, which migrate does not do")
	}
	return append(all, "list prices, without taxes and discounts; GB is 2^30 bytes, as AWS bills")
}

// ReadBack is what it costs to read all that was moved once, by a standard
// retrieval: "$1.20", or that no price of it is known.
func ReadBack(o cost.Option) string {
	if o.NoRetrieval {
		return "not known"
	}
	return o.Retrieval.String()
}

// readBack is the same as a number.
func readBack(o cost.Option) *cost.Money {
	if o.NoRetrieval {
		return nil
	}
	return &o.Retrieval
}

// PriceDates is of which days the prices are: "2026-11-23".
func PriceDates(r cost.Report) string {
	first, last := "", ""
	for _, p := range r.Rates {
		if p.Dated != "" && (first == "" || p.Dated < first) {
			first = p.Dated
		}
		last = max(last, p.Dated)
	}
	switch {
	case first == "":
		return "a day not known"
	case first == last:
		return ui.Visible(first)
	}
	return ui.Visible(first + " to " + last)
}

// Count is a number with its word: "1 month", "3 months".
func Count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return strconv.Itoa(n) + " " + word
}
