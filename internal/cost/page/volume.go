package page

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/ui"
)

// firstRows is how many snapshots the script shows at first, page.js has the
// same number.
const firstRows = 250

type volumeRow struct {
	of                                               cost.Volume
	Anchor, ID, About, Region, Account               string
	Snapshots, GB, Monthly, Range, Change, Best, Why string
	Share                                            int
	Drawn                                            bool
	Says                                             string // of it, in short
	Sizes, Changes                                   template.HTML
	SizesSay, ChangesSay                             string
	Options                                          []optionRow
}

func newVolumeRow(c cost.Currency, v cost.Volume, dearest cost.Money) volumeRow {
	row := volumeRow{
		of: v, ID: print.VolumeName(v), About: print.About(v), Region: ui.Visible(v.Region), Account: ui.Visible(v.Account),
		Snapshots: number(v.Sum.Snapshots), GB: gb(v.Sum.Standard.Estimate + v.Sum.Archive), Range: spread(c, v.Sum.Unpriced, v.Sum.Monthly),
		Share: share(v.Sum.Monthly.Estimate, dearest), Best: "keep", Why: ui.Visible(v.Why),
	}
	row.Monthly, _ = print.Monthly(c, v.Sum)
	row.Says = fmt.Sprintf("%s, %s%s GB, %s", count(v.Sum.Snapshots, "snapshot"), print.Hedge(v.Sum), row.GB, aMonth(c, v.Sum))
	if v.Change.Known {
		row.Change = print.Percent(v.Change.Percent, 100)
	}
	if best, found := print.Best(v.Options, v.Best); found {
		row.Best = fmt.Sprintf("%s to %s: saves %s", print.What(best), best.Class.Name(), c.Format(best.Saving.Estimate))
	} else if v.Why != "" {
		row.Best = row.Why
	}
	return row
}

// order is by cost a month, over all regions.
func (v *volumeRow) order(other volumeRow) int {
	return cmp.Compare(v.of.Sum.Monthly.Estimate, other.of.Sum.Monthly.Estimate)
}

// draw makes the drawings and the options of the volume.
func (v *volumeRow) draw(c cost.Currency) error {
	v.Drawn = true
	v.Options = optionRows(c, v.of.Options, v.of.Best, v.of.Sum)
	there := slices.DeleteFunc(slices.Clone(v.of.Snapshots), func(s cost.Snapshot) bool { return s.Gone })
	if len(there) == 0 {
		return nil
	}
	sizes, each := bars(there, func(s cost.Snapshot) float64 { return float64(print.Size(s)) / (1 << 30) })
	sizes.Unit = " GB"
	sizes.Alt = fmt.Sprintf("Billed sizes of the snapshots of %s, %s: %s", v.ID, span(there), extremes(sizes.Values, " GB"))
	v.SizesSay = "Billed size by date" + each
	var err error
	if v.Sizes, err = sizes.svg(); err != nil {
		return err
	}
	if len(there) < 2 || v.of.Size <= 0 || v.of.ID == "" {
		return nil
	}
	changes, each := bars(there[1:], func(s cost.Snapshot) float64 { return s.Percent })
	changes.Unit = "%"
	changes.Alt = fmt.Sprintf("Change of %s from one snapshot to the next, %s: %s of its size", v.ID, span(there[1:]), extremes(changes.Values, "%"))
	v.ChangesSay = "Change since the one before, of the volume" + each
	v.Changes, err = changes.svg()
	return err
}

// bars is a chart with a bar for each snapshot, or, where they would be too thin,
// for each run of some; each says so.
func bars(snapshots []cost.Snapshot, value func(cost.Snapshot) float64) (c chart, each string) {
	run := (len(snapshots) + maxBars - 1) / maxBars
	for some := range slices.Chunk(snapshots, run) {
		sum := 0.0
		for _, s := range some {
			sum += value(s)
		}
		c.Labels = append(c.Labels, date(some[0].Start))
		c.Values = append(c.Values, sum/float64(len(some)))
	}
	if run > 1 {
		each = fmt.Sprintf(" (each bar is the mean of %d snapshots)", run)
	}
	return c, each
}

func date(t time.Time) string {
	if t.IsZero() {
		return "no date"
	}
	return t.UTC().Format(time.DateOnly)
}

func span(snapshots []cost.Snapshot) string {
	return date(snapshots[0].Start) + " to " + date(snapshots[len(snapshots)-1].Start)
}

func extremes(values []float64, unit string) string {
	return fmt.Sprintf("%d bars from %.1f%s to %.1f%s", len(values), slices.Min(values), unit, slices.Max(values), unit)
}

// classRow is what all snapshots cost a month in one class, or as they are.
type classRow struct {
	Name, Monthly string
	Share         int // percent of the dearest
}

// byClass is what all snapshots cost a month if kept, and if moved to each class as
// the best option for it says; nil where there is no option.
func byClass(r cost.Report) []classRow {
	best := map[cost.Class]cost.Option{}
	var classes []cost.Class
	dearest := r.Total.Monthly.Estimate
	for _, o := range r.Options {
		if o.Form != cost.FullCopies {
			continue
		}
		known, seen := best[o.Class]
		if !seen {
			classes = append(classes, o.Class)
		}
		if !seen || o.Saving.Estimate > known.Saving.Estimate {
			best[o.Class] = o
		}
	}
	if len(classes) == 0 {
		return nil
	}
	for _, o := range best {
		dearest = max(dearest, o.After.Estimate)
	}
	keep, _ := print.Monthly(r.Currency, r.Total)
	rows := []classRow{{"keep", keep, share(r.Total.Monthly.Estimate, dearest)}}
	for _, class := range classes {
		rows = append(rows, classRow{class.Name(), print.After(r.Currency, best[class]), share(best[class].After.Estimate, dearest)})
	}
	return rows
}

type optionRow struct {
	What, To, Stored, Monthly, Saving, Range, Once, PaidBack, Least, LeastCost, Retrieval string
	Best, Less                                                                            bool
}

func optionRows(c cost.Currency, options []cost.Option, best int, now cost.Sum) []optionRow {
	if len(options) == 0 {
		return nil
	}
	keep, _ := print.Monthly(c, now)
	rows := []optionRow{{What: "keep", Monthly: keep, Best: best < 0}}
	for i, o := range options {
		row := optionRow{
			What: print.What(o), To: o.Class.Name(), Stored: gb(o.Stored.Estimate), Monthly: print.After(c, o),
			Saving: c.Format(o.Saving.Estimate), Range: spread(c, 0, o.Saving), Once: c.Format(o.OneTime.Total()), PaidBack: print.PaidBack(o), Retrieval: print.ReadBack(c, o),
			Best: i == best, Less: o.Saving.Estimate > 0,
		}
		if o.MinimumDays > 0 {
			row.Least, row.LeastCost = count(o.MinimumDays, "day"), c.Format(o.Minimum)
		}
		rows = append(rows, row)
	}
	return rows
}

type snapshotRow struct {
	ID, Volume, Region, Account, Start, GB, Change, Monthly, Description string
	Marks                                                                []string
	Kind                                                                 string
	Later                                                                bool
}

func newSnapshotRow(c cost.Currency, v cost.Volume, at int) snapshotRow {
	s := v.Snapshots[at]
	row := snapshotRow{
		ID: ui.Visible(string(s.ID)), Volume: ui.Visible(string(v.ID)), Region: ui.Visible(s.Region), Account: ui.Visible(s.Account), Start: date(s.Start),
		GB: gb(print.Size(s)), Monthly: c.Format(s.Monthly.Estimate), Description: ui.Visible(s.Description),
		Change: print.Change(v, at), Marks: print.Marks(s), Kind: "held",
	}
	if s.Unpriced {
		row.Monthly = "not known"
	}
	switch {
	case s.Movable:
		row.Kind = "can"
	case len(s.Holds) == 0 && s.Start.IsZero():
		row.Kind = "unknown"
	}
	if s.Work == cost.WorkMigrated || s.Work == cost.WorkValidated {
		row.Kind = "moved"
	}
	if s.Gone {
		row.Kind = "gone"
	}
	return row
}
