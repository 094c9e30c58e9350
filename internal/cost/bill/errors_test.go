package bill_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
	"snap-to-s3/internal/hint"
)

const (
	header = "identity/LineItemId,lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageEndDate,lineItem/UsageType,lineItem/ResourceId," +
		"lineItem/UsageAmount,lineItem/CurrencyCode,lineItem/UnblendedRate,lineItem/UnblendedCost"
	arnOf = "arn:aws:ec2:us-west-2:123456789012:snapshot/"
	id    = "snap-0123456789abcdef0"
	good  = "a,Usage,2024-09-01T23:00:00Z,2024-09-02T00:00:00Z,USW2-EBS:SnapshotUsage," + arnOf + id + ",0.1,USD,0.05,0.005"
	other = "b,Usage,2024-09-01T05:00:00Z,2024-09-01T06:00:00Z,USW2-BoxUsage,i-1,1,USD,0.05,0.005"
)

func TestRefused(t *testing.T) {
	t.Parallel()
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	zipped := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, s)
		z.Close()
		return b.String()
	}
	random := strings.Builder{}
	for i := range 200_000 {
		random.WriteString(strings.Replace(other, "i-1", "i-"+strings.Repeat(string(rune('a'+i%26)), i%40), 1) + "\n")
	}
	whole := zipped(header + "\n" + random.String())
	broken := []byte(whole)
	broken[len(broken)-6] ^= 0x55 // of its checksum
	for name, c := range map[string]struct{ text, want, hint string }{
		"empty":          {"", "a.csv is empty", "downloaded whole"},
		"header only":    {header + "\n", "a header, and no lines: a.csv", "last month"},
		"another CSV":    {"name,age\nx,1\n", `a.csv, line 1: its columns are not those of a bill from AWS: "name", "age"`, "FOCUS"},
		"no resources":   {strings.Replace(header, "lineItem/ResourceId,", "", 1) + "\n", "this legacy CUR report has no column lineItem/ResourceId", "Include resource IDs"},
		"no amount":      {strings.Replace(header, "lineItem/UsageAmount,", "", 1) + "\n", "has no column lineItem/UsageAmount", "query"},
		"no ids in it":   {header + "\n" + with(arnOf+id, "") + "\n", "none names its snapshot", "Include resource IDs"},
		"short line":     {header + "\n" + good + "\n" + good[:60] + "\n", "a.csv, line 3, column lineItem/ResourceId: the line has 5 fields, the header 10", "cut"},
		"short column":   {header + "\n" + good + "\n" + "x", "a.csv, line 3, column lineItem/LineItemType: the line has 1 fields, the header 10", "cut"},
		"bad amount":     {header + "\n" + other + "\n" + with("0.1,", "much,") + "\n", `a.csv, line 3, column lineItem/UsageAmount: "much" is not a number`, "as AWS wrote it"},
		"no cost":        {header + "\n" + with("0.005", "") + "\n", `line 2, column lineItem/UnblendedCost: "" is not a number`, ""},
		"bad time":       {header + "\n" + with("2024-09-01T", "01.09.2024 ") + "\n", `line 2, column lineItem/UsageStartDate: "01.09.2024 23:00:00Z" is not a time`, ""},
		"reversed":       {header + "\n" + with("2024-09-02", "2024-08-02") + "\n", "line 2, column lineItem/UsageEndDate", ""},
		"long span":      {header + "\n" + with("2024-09-02", "2034-08-02") + "\n", "more than a year", ""},
		"huge amount":    {header + "\n" + with("0.1,", "1e30,") + "\n", "lineItem/UsageAmount: \"1e30\" is more than can be counted", ""},
		"huge sum":       {header + "\n" + strings.Repeat(with("0.005", "9000000")+"\n", 2), "line 3, column lineItem/UnblendedCost: \"9000000\" is too large", ""},
		"huge size":      {header + "\n" + with("0.1,", "2184.6,") + "\n", "line 2, column lineItem/UsageAmount: \"2184.6\" stands for 65538 GiB of " + id + " of 123456789012 in us-west-2, and no volume has more than 65536 GiB", "as AWS wrote it"},
		"huge day":       {header + "\n" + strings.Repeat(with("0.1,", "2000,")+"\n", 2), "lines of " + id + " of 123456789012 in us-west-2 on 2024-09-01 sum to 120000 GiB", "twice"},
		"two currencies": {header + "\n" + good + "\n" + with("USD", "CNY") + "\n", `line 3, column lineItem/CurrencyCode: "CNY" is another currency than USD`, "on their own"},
		"odd currency":   {header + "\n" + with("USD", "\x1b[3") + "\n", "is not a currency", ""},
		"no currency":    {header + "\n" + with("USD", "money") + "\n", `"money" is not a currency`, ""},
		"open quote":     {header + "\n" + with("Usage,", `"Usage,`) + "\n" + good + "\n", "a.csv, line 2, column lineItem/LineItemType: a quote that is opened here is never closed", "quote"},
		"bare quote":     {header + "\n" + with("Usage,", `Us""age,`) + "\n", "line 2, column lineItem/LineItemType: a quote inside", ""},
		"after a quote":  {header + "\n" + with("Usage,", `"Us"age,`) + "\n", "line 2, column lineItem/LineItemType: text after", ""},
		"not UTF-8":      {header + "\n" + good + "\n" + with("Usage,", "Us\xffge,") + "\n", "a.csv, line 3, column lineItem/LineItemType: byte 5 is not UTF-8", "spreadsheet"},
		"header Latin-1": {"f\xfcr," + header + "\n", "a.csv, line 1: is not UTF-8", "spreadsheet"},
		"UTF-16":         {"\xff\xfea\x00", "is not UTF-8", "UTF-16"},
		"line of 100 MB": {header + "\n" + good + "\n" + strings.Repeat("x", 100<<20), "a.csv, line 3, column identity/LineItemId: the line is longer than 1 MiB", "quote"},
		"line of 2 MB":   {header + "\n" + good + good + strings.Repeat("x", 2<<20) + "\n", "a.csv, line 2, column 19: the line is longer than 1 MiB", "quote"},
		"header 100 MB":  {strings.Repeat("x", 100<<20), "a.csv, line 1, column 1: the line is longer than 1 MiB", ""},
		"many columns":   {strings.Repeat("x,", 20_000), "a.csv, line 1: more than 16384 columns", ""},
		"cut gzip":       {whole[:len(whole)/2], "a.csv ends in the middle, after line", "downloaded whole"},
		"cut at header":  {whole[:3], "a.csv: read gzip header", "downloaded whole"},
		"damaged gzip":   {string(broken), "the file is damaged", "download it again"},
		"text in gzip":   {zipped("hello\n"), "a.csv, line 1: its columns", ""},
		"JSON":           {"{}", "is JSON, but names no files", "Manifest.json"},
		"a manifest":     {`{"reportKeys":["a.csv"]}`, "is the manifest of a report", "path of the manifest"},
		"cut manifest":   {"{\n\"reportKeys\":[\"a", "line 2, column", "Manifest.json"},
		"cut zip":        {"PK\x03\x04 and nothing else", "read zip", "downloaded whole"},
		"cut Parquet":    {"PAR1", "cut short", "download it again"},
		"no footer":      {"PAR1 a file that goes on", "does not end as Parquet does", "download it again"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bill.Read(t.Context(), []bill.Input{bill.Stream("a.csv", strings.NewReader(c.text))}, bill.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
				t.Errorf("got %v, want %s", err, c.want)
			} else if h := hint.Of(err); !strings.Contains(h, c.hint) {
				t.Errorf("%v: hint %q, want %s", err, h, c.hint)
			}
		})
	}
	if _, err := bill.Read(t.Context(), nil, bill.Options{}); err == nil {
		t.Error("nothing is a bill")
	}
}

// What is not refused, and what is said about it.
func TestAccepted(t *testing.T) {
	t.Parallel()
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, c := range map[string]struct {
		lines []string
		bytes int64
		cost  string
		net   string
		note  string
	}{
		"one line":          {[]string{header, good}, 3 << 30, "0.005", "0.005", ""},
		"CRLF, BOM, blanks": {[]string{"\ufeff" + header + "\r", good + "\r", "", other}, 3 << 30, "0.005", "0.005", ""},
		"one after another": {[]string{header, good, header, other}, 3 << 30, "0.005", "0.005", ""},
		"quoted": {
			[]string{`"` + strings.ReplaceAll(header, ",", `","`) + `"`, `"` + strings.ReplaceAll(good, ",", `","`) + `"`},
			3 << 30, "0.005", "0.005", "",
		},
		"a line end in quotes": {[]string{header + ",tag", good + ",\"a\nb \"\"c\"\"\"", other + ",x"}, 3 << 30, "0.005", "0.005", ""},
		"credit":               {[]string{header, good, strings.Replace(with("Usage", "Credit"), "0.005", "-0.002", 1)}, 3 << 30, "0.005", "0.003", ""},
		"tax":                  {[]string{header, good, with("Usage", "Tax")}, 3 << 30, "0.005", "0.005", "in no sum here: 1 line of tax, $0.0050"},
		"nameless":             {[]string{header, good, with(arnOf+id, "")}, 3 << 30, "0.005", "0.005", "in no sum here: 1 line of snapshots without a snapshot's name, $0.0050"},
		"foreign":              {[]string{header, good, with(id, "vol-1")}, 3 << 30, "0.005", "0.005", "1 line of snapshots for something else, such as"},
		"no whole blocks":      {[]string{header, with("0.1,", "0.00002,")}, 644245, "0.005", "0.005", "no whole number of 512 KiB blocks"},
		"hours of a day":       {[]string{header, with("0.1,", "0.05,"), with("23:00:00Z,2024-09-02T00", "22:00:00Z,2024-09-01T23")}, 4831838208, "0.01", "0.01", ""},
		"retrieval":            {[]string{header, good, with("SnapshotUsage", "SnapshotUsageUnderBilling")}, 3 << 30, "0.01", "0.01", ""},
		"refund below nothing": {
			[]string{header, with("0.1,", "-0.1,")},
			0, "0.005", "0.005",
			"lines that sum to less than nothing, and are taken for 0 bytes: " + id + " of 123456789012 in us-west-2 on 2024-09-01",
		},
		"free": {
			[]string{header, strings.Replace(with(",0.05,", ",0,"), "0.005", "0", 1)},
			3 << 30, "0", "0",
			"billed nothing on the day that counts, and priced as others of the account and region, or by the list: 1 snapshot",
		},
	} {
		u, err := bill.Read(t.Context(), []bill.Input{text(c.lines...)}, bill.Options{})
		if err != nil || len(u.Snapshots) != 1 {
			t.Errorf("%s: %+v, %v", name, u, err)
			continue
		}
		s := u.Snapshots[0]
		if s.Bytes != c.bytes || s.Cost.Decimal() != c.cost || s.NetCost.Decimal() != c.net || !strings.Contains(strings.Join(u.Notes, "\n"), c.note) {
			t.Errorf("%s: %+v %q", name, s, u.Notes)
		}
	}
}

// What is read of blended cost, and of reports without a currency.
func TestCosts(t *testing.T) {
	t.Parallel()
	with := func(blended string) string { return good + "," + blended }
	bare := strings.NewReplacer("lineItem/CurrencyCode,", "", "USD,", "")
	china := strings.NewReplacer("aws:ec2:us-west-2", "aws-cn:ec2:cn-north-1")
	for name, c := range map[string]struct {
		lines                   []string
		cost, blended, currency string
	}{
		"no column":         {[]string{header, good}, "0.005", "0.005", "USD"},
		"blended":           {[]string{header + ",lineItem/BlendedCost", with("0.004"), with("-0.001"), with("")}, "0.015", "0.008", "USD"},
		"credit":            {[]string{header + ",lineItem/BlendedCost", with("0.004"), strings.Replace(with("-9"), "Usage", "Credit", 1)}, "0.005", "0.004", "USD"},
		"yuan":              {[]string{header, china.Replace(strings.Replace(good, "USD", "CNY", 1))}, "0.005", "0.005", "CNY"},
		"dollars, not said": {[]string{bare.Replace(header), bare.Replace(good)}, "0.005", "0.005", "USD"},
		"yuan, not said":    {[]string{bare.Replace(header), bare.Replace(china.Replace(good)), bare.Replace(strings.Replace(good, arnOf+id, "", 1))}, "0.005", "0.005", "CNY"},
	} {
		u := read(t, text(c.lines...))
		if len(u.Snapshots) != 1 || u.Snapshots[0].Cost.Decimal() != c.cost || u.Snapshots[0].BlendedCost.Decimal() != c.blended || u.Currency != c.currency {
			t.Errorf("%s: %s %+v", name, u.Currency, u.Snapshots)
		}
	}
	for name, lines := range map[string][]string{
		"two regions": {bare.Replace(header), bare.Replace(good), bare.Replace(china.Replace(good))},
		"tax":         {header, good, strings.NewReplacer("Usage,", "Tax,", "USD", "CNY").Replace(good)},
	} {
		if _, err := bill.Read(t.Context(), []bill.Input{text(lines...)}, bill.Options{}); err == nil || !strings.Contains(err.Error(), "is another currency than USD") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The newest day counts only once it is complete.
func TestIncompleteDay(t *testing.T) {
	t.Parallel()
	at := func(day, id, amount string) string {
		l := strings.Replace(good, "0123456789abcdef0", id, 1)
		l = strings.Replace(l, "0.1,", amount+",", 1)
		return strings.NewReplacer("09-01", "09-"+day, "09-02T00:00", "09-"+day+"T23:59").Replace(l)
	}
	one, two, three := "00000000000000001", "00000000", "ffffffffffffffff3"
	lines := []string{header, at("10", one, "0.1"), at("10", two, "0.1"), at("10", three, "0.1"), at("11", one, "0.2"), at("11", two, "0.2")}
	later := strings.NewReplacer("09-01", "09-12").Replace(other)
	for name, c := range map[string]struct {
		lines  []string
		newest int
		bytes  int64
		gone   string
		note   bool
	}{
		"still running":  {lines, 10, 3 << 30, "", true},
		"over":           {append(lines[:len(lines):len(lines)], later), 11, 6 << 30, "snap-" + three, false},
		"few lines of 3": {append(lines[:5:5], later), 10, 3 << 30, "", true},
	} {
		u := read(t, text(c.lines...))
		gone := ""
		for _, s := range u.Snapshots {
			if s.Gone {
				gone += string(s.ID)
			} else if s.Bytes != c.bytes {
				t.Errorf("%s: %s has %d bytes", name, s.ID, s.Bytes)
			}
		}
		if u.Newest.Day() != c.newest || gone != c.gone || (len(u.Notes) > 0) != c.note {
			t.Errorf("%s: newest %s, gone %q, notes %q", name, u.Newest, gone, u.Notes)
		}
	}
}

// Every truncation and many changed bytes of a Parquet file: an error, never a
// panic, never much memory; and never another sum.
func TestDamagedParquet(t *testing.T) {
	t.Parallel()
	a := billtest.New(1, day(2024, 2, 1), 1)
	a.Volumes, a.Noise = a.Volumes[:1], 2
	path := filepath.Join(t.TempDir(), "a.parquet")
	if err := a.WriteFile(path, billtest.CUR2Parquet, a.Lines(billtest.Daily)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(b []byte) error {
		_, err := bill.Read(t.Context(), []bill.Input{bill.Stream("a.parquet", bytes.NewReader(b))}, bill.Options{})
		return err
	}
	for n := 0; n < len(whole); n += 1 + len(whole)/200 {
		if err := try(whole[:n]); err == nil {
			t.Fatalf("%d of %d bytes are a bill", n, len(whole))
		}
	}
	for i := 0; i < len(whole); i += 1 + len(whole)/400 {
		b := bytes.Clone(whole)
		b[i] ^= 0xff
		if err := try(b); err != nil && !strings.Contains(err.Error(), "a.parquet") && !strings.Contains(err.Error(), "none names") {
			t.Errorf("byte %d: %v names no file", i, err)
		}
	}
	large := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(large[len(large)-8:], 0xffffffff)
	if err := try(large); err == nil || !strings.Contains(err.Error(), "footer is larger than the file") {
		t.Error(err)
	}
}
