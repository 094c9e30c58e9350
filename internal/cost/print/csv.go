package print

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"snap-to-s3/internal/cost"
)

// CSV writes one line for each snapshot, gone ones among them, under a line of
// names. Sizes are GiB; amounts are in the currency that their names begin with; both
// are exact, and what is not known is empty.
// A name or description that a spreadsheet would take for a formula gets an
// apostrophe in front of it (https://owasp.org/www-community/attacks/CSV_Injection).
func CSV(w io.Writer, r cost.Report) error {
	out := csv.NewWriter(w)
	in := strings.ToLower(r.Currency.String()) + "_"
	rows := [][]string{{
		"partition", "account", "region", "volume", "volume_name", "volume_state", "volume_gib", "snapshot", "start", "description",
		"gib", "gib_low", "gib_high", "archive_gib", "full_gib", "change_percent", in + "month", in + "month_low", in + "month_high",
		in + "billed", in + "blended", in + "net", "average", "gone", "movable", "marks",
	}}
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			for i := range v.Snapshots {
				rows = append(rows, csvRow(v, i))
			}
		}
	}
	for _, row := range rows {
		if err := out.Write(row); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func csvRow(v cost.Volume, at int) []string {
	s := v.Snapshots[at]
	change, start, billed, blended, net, whole, moves := "", "", "", "", "", "", ""
	monthly := make([]string, 3)
	if !s.Unpriced {
		monthly = []string{s.Monthly.Estimate.Decimal(), s.Monthly.Low.Decimal(), s.Monthly.High.Decimal()}
	}
	if Change(v, at) != "" {
		change = strconv.FormatFloat(s.Percent, 'f', -1, 64)
	}
	if !s.Start.IsZero() {
		start = s.Start.UTC().Format(time.RFC3339)
	}
	if n := full(v, s); n != nil {
		whole = exactGiB(*n)
	}
	if m := movable(s); m != nil {
		moves = strconv.FormatBool(*m)
	}
	if s.InBill {
		billed, blended, net = s.Cost.Decimal(), s.Blended.Decimal(), s.NetCost.Decimal()
	}
	return []string{
		harmless(s.Partition), harmless(s.Account), harmless(s.Region), harmless(string(v.ID)), harmless(v.Name), stateName(v.State), exactGiB(v.Size),
		harmless(string(s.ID)), start, harmless(s.Description),
		exactGiB(s.Standard.Estimate), exactGiB(s.Standard.Low), exactGiB(s.Standard.High), exactGiB(s.Archive), whole,
		change, monthly[0], monthly[1], monthly[2], billed, blended, net,
		strconv.FormatBool(s.Average), strconv.FormatBool(s.Gone), moves, harmless(strings.Join(Marks(s), "; ")),
	}
}

// exactGiB has all digits: a block of 512 KiB is 2^-11 of a GiB, a byte 2^-30.
func exactGiB(bytes int64) string { return strconv.FormatFloat(float64(bytes)/gib, 'f', -1, 64) }

// harmless is text that is no formula to a spreadsheet.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}

func stateName(s cost.VolumeState) string {
	switch s {
	case cost.VolumeExists:
		return "exists"
	case cost.VolumeDeleted:
		return "deleted"
	}
	return ""
}
