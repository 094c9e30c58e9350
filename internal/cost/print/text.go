package print

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/ui"
)

// Text writes the report for a person: regions, their volumes by cost, each with
// its snapshots by date in the predecessor's shape, then what moving them would
// cost and save, the total, and where the prices are from.
func Text(w io.Writer, r cost.Report) error {
	out := bufio.NewWriter(w)
	for _, region := range r.Regions {
		amount, known := Monthly(region.Sum)
		if known {
			amount += "/month"
		}
		fmt.Fprintf(out, "Region %s (%s for %s)\n", ui.Visible(region.Name), amount, Count(region.Sum.Snapshots, "snapshot"))
		for _, v := range region.Volumes {
			writeVolume(out, v)
			fmt.Fprintln(out)
		}
	}
	writeTotal(out, r)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func writeVolume(out io.Writer, v cost.Volume) {
	about := About(v)
	if about != "" {
		about = " (" + about + ")"
	}
	amount, known := Monthly(v.Sum)
	if known {
		amount = Dollars(v.Sum.Monthly.Estimate) + "/month"
	}
	fmt.Fprintf(out, "%s%s: %.0f GB total, %s for %s", VolumeName(v), about,
		float64(v.Sum.Standard.Estimate+v.Sum.Archive)/gib, amount, Count(v.Sum.Snapshots, "snapshot"))
	if v.Change.Known {
		fmt.Fprintf(out, ", average snapshot change %s%%", significant(v.Change.Percent, 2))
	}
	fmt.Fprintln(out)
	writeSnapshots(out, v)
	switch best, found := Best(v.Options, v.Best); {
	case v.Why != "":
		fmt.Fprintf(out, "  cannot be moved: %s\n", ui.Visible(v.Why))
	case found:
		fmt.Fprintf(out, "  best: %s to %s, saves %s/month, paid back: %s\n", What(best), ClassName(best.Class), Amount(best.Saving), PaidBack(best))
	default:
		fmt.Fprintln(out, "  best: keep")
	}
	writeOptions(out, v.Sum, v.Options)
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

func writeOptions(out io.Writer, now cost.Sum, options []cost.Option) {
	if len(options) == 0 {
		return
	}
	rows := [][]string{
		{"move", "to", "stored", "a month", "saves", "once", "paid back", "bills at least", "to read back"},
		{"keep", "", "", now.Monthly.Estimate.String(), "", "", "", "", ""},
	}
	for _, o := range options {
		least := ""
		if o.MinimumDays > 0 {
			least = fmt.Sprintf("%d days, %s", o.MinimumDays, o.Minimum)
		}
		rows = append(rows, []string{
			What(o), ClassName(o.Class), GB(o.Stored.Estimate) + " GB", o.After.Estimate.String(), Amount(o.Saving), o.OneTime.Total().String(),
			PaidBack(o), least, ReadBack(o),
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

func writeTotal(out io.Writer, r cost.Report) {
	fmt.Fprintf(out, "Total: %.0f GB, %s/month for %s", float64(r.Total.Standard.Estimate+r.Total.Archive)/gib,
		Amount(r.Total.Monthly), Count(r.Total.Snapshots, "snapshot"))
	if r.Total.Gone > 0 {
		fmt.Fprintf(out, "; %s gone since the bill began", Count(r.Total.Gone, "snapshot"))
	}
	fmt.Fprintln(out)
	if r.Total.Billed != 0 || r.Total.Net != 0 {
		fmt.Fprintf(out, "Billed in that time: %s; %s after credits and refunds\n", r.Total.Billed, r.Total.Net)
	}
	fmt.Fprintln(out, Answer(r))
	writeOptions(out, r.Total, r.Options)
	for _, region := range r.Regions {
		writeLimits(out, region)
	}
	fmt.Fprintln(out, "\nTaken for this:")
	for _, a := range Assumptions(r) {
		fmt.Fprintln(out, "  "+a)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "  "+ui.Visible(n))
	}
	if len(r.Unknown) > 0 {
		fmt.Fprintln(out, "Not in these sums, for want of a price:")
		for _, u := range r.Unknown {
			fmt.Fprintln(out, "  "+ui.Visible(u))
		}
	}
	if len(r.Rates) == 0 {
		return
	}
	fmt.Fprintf(out, "Prices of %s:\n", PriceDates(r))
	for _, p := range r.Rates {
		fmt.Fprintf(out, "  %s: $%s a %s (%s)\n", ui.Visible(p.Item), p.Price.Decimal(), ui.Visible(p.Unit), ui.Visible(p.Source))
	}
}

func writeLimits(out io.Writer, region cost.Region) {
	if len(region.Limits) == 0 {
		return
	}
	var all []string
	for _, l := range region.Limits {
		all = append(all, fmt.Sprintf("%s above %s%%", ClassName(l.Class), significant(l.Percent, 2)))
	}
	fmt.Fprintf(out, "In %s, many full copies are cheaper than snapshots where the change from one to the next is: %s\n",
		ui.Visible(region.Name), strings.Join(all, ", "))
}
