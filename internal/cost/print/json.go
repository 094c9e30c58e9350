package print

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"snap-to-s3/internal/cost"
)

// jsonVersion is the "v" of every line, as the other commands write it.
const jsonVersion = 1

func head(kind string) Head { return Head{jsonVersion, kind} }

// JSON writes JSON Lines: regions with their limits, volumes with their options
// and snapshots, then the options of all together, the prices, notes, and the
// total as the last line.
func JSON(w io.Writer, r cost.Report) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for row := range jsonRows(r) {
		if err := enc.Encode(row); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func jsonRows(r cost.Report) func(yield func(any) bool) {
	return func(yield func(any) bool) {
		for _, region := range r.Regions {
			if !yieldRegion(region, yield) {
				return
			}
		}
		for _, row := range optionRows(Owned{}, r.Options, r.Best) {
			if !yield(row) {
				return
			}
		}
		for _, p := range r.Rates {
			if !yield(SourceRow{head("source"), p.Region, p.Item, p.Price, p.Unit, p.Source, p.Dated}) {
				return
			}
		}
		for _, n := range r.Notes {
			if !yield(NoteRow{head("note"), n}) {
				return
			}
		}
		yield(totalRow(r))
	}
}

func yieldRegion(region cost.Region, yield func(any) bool) bool {
	where := Placed{region.Partition, region.Name}
	if !yield(RegionRow{head("region"), where, sums(region.Sum)}) {
		return false
	}
	for _, l := range region.Limits {
		if !yield(LimitRow{head("limit"), where, l.Class, l.Percent}) {
			return false
		}
	}
	for _, v := range region.Volumes {
		of := Owned{v.Partition, v.Account, v.Region, v.ID}
		var change *float64
		if v.Change.Known {
			change = &v.Change.Percent
		}
		if !yield(VolumeRow{head("volume"), of, v.Name, stateName(v.State), v.Size, sums(v.Sum), change, v.Why}) {
			return false
		}
		for i := range v.Snapshots {
			if !yield(snapshotRow(v, i)) {
				return false
			}
		}
		for _, row := range optionRows(of, v.Options, v.Best) {
			if !yield(row) {
				return false
			}
		}
	}
	return true
}

func snapshotRow(v cost.Volume, at int) SnapshotRow {
	s := v.Snapshots[at]
	row := SnapshotRow{
		Head: head("snapshot"), Owned: Owned{s.Partition, s.Account, s.Region, v.ID}, Snapshot: s.ID,
		Description: s.Description, Holds: s.Holds, Work: workName(s.Work), Movable: movable(s), Gone: s.Gone, Average: s.Average, Encrypted: s.Encrypted,
		Amounts: amounts(s.Standard, s.Archive), Full: full(v, s), InBill: s.InBill,
	}
	if !s.Unpriced {
		row.Monthly, row.MonthlyLow, row.MonthlyHigh = &s.Monthly.Estimate, &s.Monthly.Low, &s.Monthly.High
	}
	if !s.Start.IsZero() {
		row.Start = s.Start.UTC().Format(time.RFC3339)
	}
	if Change(v, at) != "" {
		row.Change = &s.Percent
	}
	if s.InBill {
		row.Billed, row.Blended, row.Net = &s.Cost, &s.Blended, &s.NetCost
	}
	return row
}

// movable is nil where nobody told what holds it.
func movable(s cost.Snapshot) *bool {
	if s.Start.IsZero() && !s.Gone && len(s.Holds) == 0 {
		return nil
	}
	return &s.Movable
}

// full is what all blocks of a snapshot hold; nil where that is not known. Of one
// whose volume is not known, what it is billed for says nothing of it.
func full(v cost.Volume, s cost.Snapshot) *int64 {
	if s.Full.High == 0 || v.ID == "" && s.FullSize == 0 && s.Archive == 0 {
		return nil
	}
	return &s.Full.Estimate
}

// amounts are those without what it costs, of which prices may be missing.
func amounts(standard cost.Range, archive int64) Amounts {
	return Amounts{
		GiB: float64(standard.Estimate+archive) / gib, Standard: standard.Estimate, Low: standard.Low, High: standard.High, Archive: archive,
	}
}

func sums(s cost.Sum) Sums {
	row := Sums{s.Snapshots, s.Gone, s.Unpriced, amounts(s.Standard, s.Archive), s.Billed, s.Blended, s.Net}
	if s.Unpriced == 0 {
		row.Monthly, row.MonthlyHigh = &s.Monthly.Estimate, &s.Monthly.High
	}
	if s.Unpriced == 0 || s.Monthly.High > 0 {
		row.MonthlyLow = &s.Monthly.Low
	}
	return row
}

// whole is the amount of an option, if all of it has a price.
func whole(o cost.Option, m cost.Money) *cost.Money {
	if o.Unpriced > 0 {
		return nil
	}
	return &m
}

func optionRows(of Owned, options []cost.Option, best int) []OptionRow {
	rows := make([]OptionRow, 0, len(options))
	for i, o := range options {
		form, scope := "full", "all"
		if o.Form == cost.Increments {
			form = "increments"
		}
		if o.Scope == cost.ScopeOldest {
			scope = "oldest"
		}
		once := o.OneTime
		rows = append(rows, OptionRow{
			head("option"), of, o.Class, form, scope, i == best, o.Snapshots, o.Volumes, o.Stored.Estimate, o.Stored.Low, o.Stored.High,
			o.Unpriced, whole(o, o.Now.Estimate), whole(o, o.After.Estimate), o.Saving.Estimate, o.Saving.Low, o.Saving.High,
			once.Total(), once.Requests, once.Volumes, once.Reads, once.Instance, once.Hours, whole(o, o.First),
			o.MinimumDays, o.Minimum, readBack(o), o.BreakEven, o.Latest,
		})
	}
	return rows
}

func totalRow(r cost.Report) TotalRow {
	row := TotalRow{
		Head: head("total"), Sums: sums(r.Total), DeletionRow: deletionRow(r.Deletable), Answer: Answer(r), Beside: Beside(r), OwnClasses: r.OwnClasses.Estimate, HourlyRate: r.HourlyRate, Currency: r.Currency.String(), Ratio: 1, Measured: r.Ratio.Measured, Source: "volume",
		Payback: r.Payback, Overlap: r.Overlap, Unknown: r.Unknown, PricesDated: PriceDates(r),
	}
	if r.Ratio.Plain > 0 && r.Ratio.Stored > 0 {
		row.Ratio = float64(r.Ratio.Plain) / float64(r.Ratio.Stored)
	}
	if r.Source == cost.ReadDirect {
		row.Source = "direct"
	}
	if p := r.Period; !p.From.IsZero() {
		row.From, row.To, row.Newest = day(p.From), day(p.To), day(p.Newest)
	}
	return row
}
