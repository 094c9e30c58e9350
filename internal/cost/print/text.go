package print

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
)

// Text writes the report for a person: regions, their volumes by cost, each with
// its snapshots by date in the predecessor's shape, then what all that is made with
// and where the prices are from, and last what it comes to: the total and the answer.
func Text(w io.Writer, r cost.Report) error {
	out := bufio.NewWriter(w)
	for _, region := range r.Regions {
		fmt.Fprintf(out, "Region %s (%s for %s)\n", ui.Visible(region.Name), perMonth(r.Currency, region.Sum), words.Count(region.Sum.Snapshots, "snapshot"))
		for _, v := range region.Volumes {
			writeVolume(out, r.Currency, v, owner(r, v))
			fmt.Fprintln(out)
		}
	}
	writeTerms(out, r)
	writeAnswer(out, r)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// perMonth is what snapshots cost, as "$12.40/month".
func perMonth(c cost.Currency, s cost.Sum) string {
	amount, known := Monthly(c, s)
	if !known {
		return "cost not known"
	}
	return amount + "/month"
}

// owner is whose the volume is, where the report is about several accounts.
func owner(r cost.Report, v cost.Volume) string {
	for _, region := range r.Regions {
		for _, o := range region.Volumes {
			if o.Account != v.Account {
				return "account " + ui.Visible(v.Account)
			}
		}
	}
	return ""
}

func writeVolume(out io.Writer, c cost.Currency, v cost.Volume, owner string) {
	about := strings.Trim(About(v)+", "+owner, ", ")
	if about != "" {
		about = " (" + about + ")"
	}
	fmt.Fprintf(out, "%s%s: %s total, %s for %s", VolumeName(v), about, totalGB(v.Sum), perMonth(c, v.Sum), words.Count(v.Sum.Snapshots, "snapshot"))
	if v.Change.Known {
		fmt.Fprintf(out, ", average snapshot change %s%%", significant(v.Change.Percent, 2))
	}
	fmt.Fprintln(out)
	writeSnapshots(out, v)
	switch best, found := Best(v.Options, v.Best); {
	case v.Why != "":
		fmt.Fprintf(out, "  %s\n", ui.Visible(v.Why))
	case found:
		fmt.Fprintf(out, "  best: %s to %s, saves %s/month, paid back: %s\n", What(best), best.Class.Name(), Amount(c, best.Saving), PaidBack(best))
	default:
		fmt.Fprintln(out, "  best: keep")
	}
	if len(v.Unpriced) > 0 && v.Why == "" {
		fmt.Fprintf(out, "  without a price: %s\n", cost.ClassNames(v.Unpriced))
	}
	writeOptions(out, c, v.Sum, v.Options)
}

func writeSnapshots(out io.Writer, v cost.Volume) {
	idWidth, sizeWidth := 0, 0
	for _, s := range v.Snapshots {
		idWidth = max(idWidth, len(ui.Visible(string(s.ID))))
		sizeWidth = max(sizeWidth, len(GB(Size(s))))
	}
	for i, s := range v.Snapshots {
		fmt.Fprintf(out, "  %-*s  %s  %*s GB", idWidth, ui.Visible(string(s.ID)), day(s.Start), sizeWidth, GB(Size(s)))
		if change := Change(v, i); change != "" {
			fmt.Fprintf(out, " (%s)", change)
		}
		if marks := Marks(s); len(marks) > 0 {
			fmt.Fprintf(out, "  [%s]", strings.Join(marks, "; "))
		}
		fmt.Fprintln(out)
	}
}

// day is a day as "2017-05-01"; ten characters also where it is not known.
func day(t time.Time) string {
	if t.IsZero() {
		return "----------"
	}
	return t.UTC().Format(time.DateOnly)
}

func writeOptions(out io.Writer, c cost.Currency, now cost.Sum, options []cost.Option) {
	if len(options) == 0 {
		return
	}
	keep, _ := Monthly(c, now)
	rows := [][]string{
		{"move", "to", "stored", "a month", "saves", "once", "paid back", "bills at least", "to read back"},
		{"keep", "", "", keep, "", "", "", "", ""},
	}
	for _, o := range options {
		least := ""
		if o.MinimumDays > 0 {
			least = fmt.Sprintf("%d days, %s", o.MinimumDays, c.Format(o.Minimum))
		}
		rows = append(rows, []string{
			What(o), o.Class.Name(), GB(o.Stored.Estimate) + " GB", After(c, o), Amount(c, o.Saving), c.Format(o.OneTime.Total()),
			PaidBack(o), least, ReadBack(c, o),
		})
	}
	writeTable(out, rows, 2)
}

// writeTable writes rows whose first words columns are words, and whose others
// are figures, to the right.
func writeTable(out io.Writer, rows [][]string, words int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		line := " "
		for i, cell := range row {
			if i < words {
				line += fmt.Sprintf(" %-*s", widths[i], cell)
			} else {
				line += fmt.Sprintf("  %*s", widths[i], cell)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
}

// writeTerms says what the report is made with.
func writeTerms(out io.Writer, r cost.Report) {
	fmt.Fprintln(out, "Taken for this:")
	for _, a := range Assumptions(r) {
		fmt.Fprintln(out, "  "+a)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "  "+ui.Visible(n))
	}
	if len(r.NoPrices) > 0 {
		fmt.Fprintln(out, "Not in these sums, for want of a price (--prices FILE reads prices, see docs/cost-model.md):")
	}
	for _, p := range r.NoPrices {
		fmt.Fprintf(out, "  %s: %s\n", ui.Visible(cmp.Or(p.Region, "elsewhere")), ui.Visible(strings.Join(p.Of, ", ")))
	}
	writePrices(out, r)
	for _, region := range r.Regions {
		writeLimits(out, region)
	}
	fmt.Fprintln(out)
}

// writePrices has a line for each region and unit, with the sources of all in it.
func writePrices(out io.Writer, r cost.Report) {
	if len(r.Rates) == 0 {
		return
	}
	fmt.Fprintf(out, "Prices of %s (--output json and --html have the source of each):\n", PriceDates(r))
	type line struct{ region, unit string }
	var lines []line
	items, sources := map[line][]string{}, map[line][]string{}
	for _, p := range r.Rates {
		at := line{p.Region, p.Unit}
		if items[at] == nil {
			lines = append(lines, at)
		}
		items[at] = append(items[at], strings.TrimSuffix(p.Item, " in "+p.Region)+" "+r.Currency.Sign()+p.Price.Decimal())
		if !slices.Contains(sources[at], p.Source) {
			sources[at] = append(sources[at], p.Source)
		}
	}
	for _, at := range lines {
		fmt.Fprintf(out, "  %s, a %s: %s (%s)\n", ui.Visible(at.region), ui.Visible(at.unit),
			ui.Visible(strings.Join(items[at], ", ")), ui.Visible(strings.Join(sources[at], "; ")))
	}
}

// writeAnswer is what the report comes to: the last lines, which a terminal shows.
func writeAnswer(out io.Writer, r cost.Report) {
	if len(r.Options) > 0 {
		fmt.Fprintln(out, "All volumes (increments are priced only: migrate makes full copies)")
		writeOptions(out, r.Currency, r.Total, r.Options)
		fmt.Fprintln(out)
	}
	amount := perMonth(r.Currency, r.Total)
	if r.Total.Unpriced == 0 {
		amount = Amount(r.Currency, r.Total.Monthly) + "/month"
	}
	fmt.Fprintf(out, "Total: %s, %s for %s", totalGB(r.Total), amount, words.Count(r.Total.Snapshots, "snapshot"))
	if r.Total.Unpriced > 0 && r.Total.Unpriced < r.Total.Snapshots {
		fmt.Fprintf(out, ", %d of them without a price", r.Total.Unpriced)
	}
	if r.Total.Gone > 0 {
		fmt.Fprintf(out, "; %s gone since the bill began", words.Count(r.Total.Gone, "snapshot"))
	}
	fmt.Fprintln(out)
	if r.Total.Billed != 0 || r.Total.Net != 0 {
		fmt.Fprintf(out, "Billed in that time: %s; %s\n", r.Currency.Format(r.Total.Billed), BilledElse(r))
	}
	fmt.Fprintln(out, Answer(r))
	for _, line := range Beside(r) {
		fmt.Fprintln(out, line)
	}
}

func writeLimits(out io.Writer, region cost.Region) {
	if len(region.Limits) == 0 {
		return
	}
	var all []string
	for _, l := range region.Limits {
		all = append(all, fmt.Sprintf("%s above %s%%", l.Class.Name(), significant(l.Percent, 2)))
	}
	fmt.Fprintf(out, "In %s, many full copies are cheaper than snapshots where the change from one to the next is: %s\n",
		ui.Visible(region.Name), strings.Join(all, ", "))
}
