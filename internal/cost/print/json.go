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
		Description: s.Description, Holds: s.Holds, Movable: s.Movable, Gone: s.Gone, Average: s.Average, Encrypted: s.Encrypted,
		Amounts: amounts(s.Standard, s.Archive, s.Monthly), Full: s.Full.Estimate, InBill: s.InBill,
	}
	if !s.Start.IsZero() {
		row.Start = s.Start.UTC().Format(time.RFC3339)
	}
	if Change(v, at) != "" {
		row.Change = &s.Percent
	}
	if s.InBill {
		row.Billed, row.Net = &s.Cost, &s.NetCost
	}
	return row
}

func amounts(standard cost.Range, archive int64, monthly cost.MoneyRange) Amounts {
	return Amounts{
		float64(standard.Estimate+archive) / gib, standard.Estimate, standard.Low, standard.High, archive,
		monthly.Estimate, monthly.Low, monthly.High,
	}
}

func sums(s cost.Sum) Sums {
	return Sums{s.Snapshots, s.Gone, amounts(s.Standard, s.Archive, s.Monthly), s.Billed, s.Net}
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
			o.Now.Estimate, o.After.Estimate, o.Saving.Estimate, o.Saving.Low, o.Saving.High,
			once.Total(), once.Requests, once.Volumes, once.Reads, once.Instance, once.Hours, o.First,
			o.MinimumDays, o.Minimum, readBack(o), o.BreakEven, o.Latest,
		})
	}
	return rows
}

func totalRow(r cost.Report) TotalRow {
	row := TotalRow{
		Head: head("total"), Sums: sums(r.Total), Answer: Answer(r), Ratio: 1, Measured: r.Ratio.Measured, Source: "volume",
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
