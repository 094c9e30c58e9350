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
	"snap-to-s3/internal/words"
)

// Best is the option at an index that is -1 where there is none.
func Best(options []cost.Option, at int) (cost.Option, bool) {
	if at < 0 || at >= len(options) {
		return cost.Option{}, false
	}
	return options[at], true
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
func Amount(c cost.Currency, m cost.MoneyRange) string {
	if m.Exact() {
		return c.Format(m.Estimate)
	}
	return fmt.Sprintf("%s (%s to %s)", c.Format(m.Estimate), c.Format(m.Low), c.Format(m.High))
}

// Marks is what is to be known of a snapshot beside its size: why it cannot be
// moved, and how sure its size is. Marks come from outside, and are printable.
func Marks(s cost.Snapshot) []string {
	var all []string
	if s.Gone {
		all = append(all, "gone since the bill began")
	}
	if mark := workMark(s); mark != "" {
		all = append(all, mark)
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

// notKnown stands for an amount of which a price is missing.
const notKnown = "not known"

// Monthly is what snapshots cost a month: "$12.40"; "at least $10.00" where more may be
// billed than is known, or no price is known for some of them; and "not known" where
// there is a price for none.
func Monthly(c cost.Currency, s cost.Sum) (amount string, known bool) {
	m := s.Monthly
	switch {
	case s.Unpriced == 0:
		return roughly(m.Exact(), m.Low == m.Estimate) + c.Format(m.Estimate), true
	case m.High == 0:
		return notKnown, false
	}
	return atLeast + c.Format(m.Low), true
}

const atLeast = "at least "

// roughly goes before an estimate.
func roughly(exact, least bool) string {
	switch {
	case exact:
		return ""
	case least:
		return atLeast
	}
	return "about "
}

// Hedge goes before the size of snapshots: "at least ", "about ", or nothing.
func Hedge(s cost.Sum) string {
	return roughly(s.Standard.Exact(), s.Standard.Low == s.Standard.Estimate)
}

// totalGB is what snapshots are billed for in both tiers: "30.5 GB", "at least 30.5 GB".
func totalGB(s cost.Sum) string { return Hedge(s) + GB(s.Standard.Estimate+s.Archive) + " GB" }

// After is what snapshots cost a month after the move of an option, in words as
// Monthly's.
func After(c cost.Currency, o cost.Option) string {
	if o.Unpriced > 0 {
		return atLeast + c.Format(o.After.Low)
	}
	return c.Format(o.After.Estimate)
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

// BilledElse is what the bills say beside unblended cost: what is left after
// credits and refunds, and blended cost where that is another.
func BilledElse(r cost.Report) string {
	text := r.Currency.Format(r.Total.Net) + " after credits and refunds"
	if r.Total.Blended != r.Total.Billed {
		text += "; " + r.Currency.Format(r.Total.Blended) + " at blended rates"
	}
	return text
}

// Assumptions are the terms that a report is made on, each a sentence.
func Assumptions(r cost.Report) []string {
	var all []string
	if p := r.Period; !p.From.IsZero() {
		all = append(all, fmt.Sprintf("bills from %s to %s; sizes are those of %s",
			day(p.From), day(p.To.AddDate(0, 0, -1)), day(p.Newest)))
	}
	if len(r.Options) > 0 {
		all = append(all, moving(r)...)
	}
	if r.Currency.String() != string(cost.USD) {
		all = append(all, fmt.Sprintf("amounts are in %s; nothing is converted, and prices in other currencies do not count", r.Currency))
	}
	return append(all, "prices are the bill's where it has one, else list prices, without taxes and discounts; GB is 2^30 bytes, as AWS bills")
}

// moving are the terms on which snapshots are moved.
func moving(r cost.Report) []string {
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
		read = "reads are priced through the EBS direct APIs: " + pricedOnly
	}
	all := []string{ratio, read}
	if r.HourlyRate > 0 {
		all = append(all, instance(r))
	}
	if r.Overlap > 0 {
		return append(all, "snapshots are kept for "+words.Count(r.Overlap, "day")+" beside their archives, and paid for")
	}
	return append(all, "each snapshot is deleted on the day it is moved, which migrate does not do")
}

// pricedOnly is to be known of direct reads.
const pricedOnly = "priced only, migrate reads by temporary volumes in this version"

// instance is what the instance is taken to cost and to do.
func instance(r cost.Report) string {
	text := "the instance that moves them costs " + r.Currency.Sign() + r.HourlyRate.Decimal() + " an hour, as given"
	if r.Throughput > 0 {
		return text + fmt.Sprintf(", and moves %s MiB a second", strconv.FormatFloat(float64(r.Throughput)/(1<<20), 'f', -1, 64))
	}
	return text
}

// ReadBack is what it costs to read all that was moved once, by a standard
// retrieval: "$1.20", or that no price of it is known.
func ReadBack(c cost.Currency, o cost.Option) string {
	if o.NoRetrieval {
		return notKnown
	}
	return c.Format(o.Retrieval)
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
