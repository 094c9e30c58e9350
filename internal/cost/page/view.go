package page

import (
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/ui"
)

// drawnVolumes is of how many volumes, the dearest ones, the page has drawings and
// options: more than a person opens, and few enough for a browser.
const drawnVolumes = 100

type view struct {
	Policy      string
	Style       template.CSS
	Script      template.JS
	Title       string
	Answer      string
	Lead        string
	Beside      []string
	Figures     []figure
	Options     []optionRow
	ByClass     []classRow
	ByClassSays string
	Accounts    bool // more than one: tables have a column for it
	Regions     []regionRow
	Classes     []string // heads of Limits
	Limits      []limitRow
	Volumes     []volumeRow
	Undrawn     int
	Snapshots   []snapshotRow
	Assumptions []string
	Unknown     []string
	Rates       []rateRow
	Dated       string
}

type figure struct{ Name, Value, Note string }

type regionRow struct {
	Name, Snapshots, GB, Monthly, Range string
	Share                               int // percent of the dearest
}

type limitRow struct {
	Region   string
	Percents []string
}

type rateRow struct{ Item, Price, Unit, Source, Dated string }

func viewOf(r cost.Report) (view, error) {
	v := view{
		Policy: policy(), Style: template.CSS(style), Script: template.JS(script),
		Title: "EBS snapshots: " + aMonth(r.Currency, r.Total), Answer: print.Answer(r), Lead: lead(r), Beside: print.Beside(r), ByClass: byClass(r),
		Figures: figures(r), Options: optionRows(r.Currency, r.Options, r.Best, r.Total), Accounts: accounts(r) > 1,
		Assumptions: print.Assumptions(r), Dated: print.PriceDates(r),
	}
	if v.ByClassSays = "Cost a month: kept, and moved to each class"; r.Total.Unpriced > 0 {
		v.ByClassSays += fmt.Sprintf(", without %s that no price is known for", count(r.Total.Unpriced, "snapshot"))
	}
	var dearest, dearestVolume cost.Money
	for _, region := range r.Regions {
		dearest = max(dearest, region.Sum.Monthly.Estimate)
		for _, volume := range region.Volumes {
			dearestVolume = max(dearestVolume, volume.Sum.Monthly.Estimate)
		}
	}
	for _, region := range r.Regions {
		monthly, _ := print.Monthly(r.Currency, region.Sum)
		v.Regions = append(v.Regions, regionRow{
			ui.Visible(region.Name), number(region.Sum.Snapshots), gb(region.Sum.Standard.Estimate + region.Sum.Archive),
			monthly, spread(r.Currency, region.Sum.Unpriced, region.Sum.Monthly), share(region.Sum.Monthly.Estimate, dearest),
		})
		for _, volume := range region.Volumes {
			v.Volumes = append(v.Volumes, newVolumeRow(r.Currency, volume, dearestVolume))
		}
	}
	slices.SortStableFunc(v.Volumes, func(a, b volumeRow) int { return b.order(a) })
	for i := range v.Volumes {
		v.Volumes[i].Anchor = fmt.Sprintf("volume-%d", i)
		for at := range v.Volumes[i].of.Snapshots {
			v.Snapshots = append(v.Snapshots, newSnapshotRow(r.Currency, v.Volumes[i].of, at))
		}
		if i >= drawnVolumes {
			v.Undrawn++
		} else if err := v.Volumes[i].draw(r.Currency); err != nil {
			return view{}, err
		}
	}
	for i := range v.Snapshots {
		v.Snapshots[i].Later = i >= firstRows
	}
	v.Classes, v.Limits = limits(r)
	for _, n := range r.Notes {
		v.Assumptions = append(v.Assumptions, ui.Visible(n))
	}
	for _, p := range r.NoPrices {
		v.Unknown = append(v.Unknown, ui.Visible(p.Region+": "+strings.Join(p.Of, ", ")))
	}
	for _, p := range r.Rates {
		v.Rates = append(v.Rates, rateRow{ui.Visible(p.Item), r.Currency.Sign() + p.Price.Decimal(), ui.Visible(p.Unit), ui.Visible(p.Source), ui.Visible(p.Dated)})
	}
	return v, nil
}

// lead is what the answer stands on, in one paragraph.
func lead(r cost.Report) string {
	volumes := 0
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			if v.ID != "" {
				volumes++
			}
		}
	}
	of := ""
	if volumes > 0 {
		of = " of " + count(volumes, "volume")
	}
	amount := print.Amount(r.Currency, r.Total.Monthly) + " a month"
	if r.Total.Unpriced > 0 {
		amount = aMonth(r.Currency, r.Total)
	}
	text := fmt.Sprintf("%s%s in %s: %s GB, %s.", count(r.Total.Snapshots, "snapshot"), of,
		count(len(r.Regions), "region"), print.Hedge(r.Total)+gb(r.Total.Standard.Estimate+r.Total.Archive), amount)
	if r.Total.Gone > 0 {
		text += fmt.Sprintf(" %s that the bills tell of, gone since.", count(r.Total.Gone, "more snapshot"))
	}
	if p := r.Period; !p.From.IsZero() {
		text += fmt.Sprintf(" Bills from %s to %s.", p.From.UTC().Format(time.DateOnly), p.To.UTC().AddDate(0, 0, -1).Format(time.DateOnly))
	}
	if len(r.Rates) == 0 {
		return text
	}
	return text + fmt.Sprintf(" Prices of %s.", print.PriceDates(r))
}

// aMonth is what snapshots cost, as "$12.40 a month".
func aMonth(c cost.Currency, s cost.Sum) string {
	amount, known := print.Monthly(c, s)
	if !known {
		return "cost not known"
	}
	return amount + " a month"
}

func figures(r cost.Report) []figure {
	c := r.Currency
	now, _ := print.Monthly(c, r.Total)
	all := []figure{{"Now, a month", now, sureness(c, r.Total.Unpriced, r.Total.Monthly)}}
	best, found := print.Best(r.Options, r.Best)
	if found {
		once := best.OneTime
		saved := print.Percent(float64(best.Saving.Estimate), float64(best.Now.Estimate))
		first := c.Format(best.First) + " in the first month, with what is paid once"
		switch {
		case best.Unpriced > 0: // of a part of what is paid now
			saved, first = "", ""
		case saved != "":
			saved += " less"
		}
		all = append(
			all,
			figure{"After, a month", print.After(c, best), sureness(c, best.Unpriced, best.After)},
			figure{"Saves, a month", c.Format(best.Saving.Estimate), strings.Trim(saved+"; "+between(c, best.Saving), "; ")},
			figure{"Once", c.Format(once.Total()), onceParts(c, once)},
			figure{"Paid back", print.PaidBack(best), first},
		)
	}
	if r.Total.Billed != 0 || r.Total.Net != 0 {
		all = append(all, figure{"In the bills", c.Format(r.Total.Billed), print.BilledElse(r)})
	}
	return all
}

func onceParts(c cost.Currency, o cost.OneTime) string {
	var parts []string
	for _, p := range []struct {
		name   string
		amount cost.Money
	}{{"requests", o.Requests}, {"volumes", o.Volumes}, {"direct reads", o.Reads}, {"instance", o.Instance}} {
		if p.amount != 0 {
			parts = append(parts, p.name+" "+c.Format(p.amount))
		}
	}
	return strings.Join(parts, ", ")
}

// sureness says how far an amount may be off: of how many snapshots it lacks a
// price, else its bounds.
func sureness(c cost.Currency, unpriced int, m cost.MoneyRange) string {
	if unpriced > 0 {
		return count(unpriced, "snapshot") + " without a price"
	}
	return between(c, m)
}

func between(c cost.Currency, m cost.MoneyRange) string {
	if m.Exact() {
		return ""
	}
	return fmt.Sprintf("between %s and %s", c.Format(m.Low), c.Format(m.High))
}

// spread is between, for a cell; of an amount that is a part it is empty.
func spread(c cost.Currency, unpriced int, m cost.MoneyRange) string {
	if m.Exact() || unpriced > 0 {
		return ""
	}
	return c.Format(m.Low) + " to " + c.Format(m.High)
}

func limits(r cost.Report) (classes []string, rows []limitRow) {
	var known []cost.Class
	for _, region := range r.Regions {
		for _, l := range region.Limits {
			if !slices.Contains(known, l.Class) {
				known = append(known, l.Class)
				classes = append(classes, l.Class.Name())
			}
		}
	}
	for _, region := range r.Regions {
		if len(region.Limits) == 0 {
			continue
		}
		row := limitRow{ui.Visible(region.Name), make([]string, len(known))}
		for _, l := range region.Limits {
			row.Percents[slices.Index(known, l.Class)] = print.Percent(l.Percent, 100)
		}
		rows = append(rows, row)
	}
	return classes, rows
}

func accounts(r cost.Report) int {
	seen := map[string]bool{}
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			seen[v.Account] = true
		}
	}
	return len(seen)
}

// share is a part of the largest, in percent; something is never drawn as nothing.
func share(part, largest cost.Money) int {
	if largest <= 0 || part <= 0 {
		return 0
	}
	return max(1, int(100*float64(part)/float64(largest)))
}

// gb is a size in GiB with one decimal and commas.
func gb(bytes int64) string {
	whole, part, _ := strings.Cut(print.GB(bytes), ".")
	return commas(whole) + "." + part
}

// number is a whole number with commas, as Money has them.
func number(n int) string { return commas(strconv.Itoa(n)) }

func commas(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return number(n) + " " + word
}

// OptionsOf is a table of options with its name, for the template.
func (view) OptionsOf(name string, rows []optionRow) any {
	return struct {
		Name string
		Rows []optionRow
	}{name, rows}
}
