package cost

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
)

// PriceList is what an offer file of the AWS Price List tells.
type PriceList struct {
	Table *Table
	Offer string   // AmazonEC2, AmazonS3 or AmazonS3GlacierDeepArchive
	Dated string   // the day it was published
	Notes []string // what was left out, and why; sorted
}

// ReadPrices reads an offer file of the AWS Price List, JSON or CSV, of one
// region or of all: of AmazonEC2 (which has EBS), AmazonS3 or
// AmazonS3GlacierDeepArchive. It reads as it goes, in little memory. name is for
// errors. Of prices that fall with the amount it takes the first step, and where
// one usage has several prices the highest. On-demand prices in the RegionCurrency of
// their region count.
func ReadPrices(ctx context.Context, name string, r io.Reader) (*PriceList, error) {
	in := bufio.NewReader(readFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}))
	if mark, err := in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3) // they were peeked at
	}
	first, err := in.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read price list %s: %w", name, err)
	}
	l := &listing{prices: map[item]price{}, plain: map[item]bool{}, notes: map[string]bool{}}
	switch {
	case len(first) == 0:
		err = fmt.Errorf("it is empty")
	case first[0] == '{':
		err = l.readJSON(in)
	default:
		err = l.readCSV(in)
	}
	if err == nil && len(l.prices) == 0 {
		err = fmt.Errorf("there is no price of EBS or S3 in the currency of its region in it (offer %q)", l.offer)
	}
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("read price list %s: %w", name, err),
			"give an offer file of the AWS Price List: index.json or index.csv of AmazonEC2, AmazonS3 or AmazonS3GlacierDeepArchive")
	}
	for i, p := range l.prices {
		p.source, p.dated = "AWS Price List, "+l.offer, l.dated
		l.prices[i] = p
	}
	return &PriceList{Table: &Table{l.prices}, Offer: l.offer, Dated: l.dated, Notes: slices.Sorted(maps.Keys(l.notes))}, nil
}

// With is the table with the prices of o in place of its own, and beside them.
func (t *Table) With(o *Table) *Table {
	prices := maps.Clone(t.prices)
	maps.Copy(prices, o.prices)
	return &Table{prices}
}

// readFunc is a reader that is a function.
type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// listing is a price list being read.
type listing struct {
	offer, dated string
	prices       map[item]price
	plain        map[item]bool // its price is of no operation
	notes        map[string]bool
}

// product is what a price may be of.
type product struct{ usage, operation, region, place string }

// usage is how the price list calls an item: a usage type without the prefix of
// its region, in some cases of one operation alone. Sources: S3 User Guide,
// "Understanding your AWS billing and usage reports"; EBS User Guide, "Billing
// and usage reports"; for operations, the price lists as public code reads them.
type usage struct{ usage, operation string }

// The item of each usage. Retrieval of GLACIER and DEEP_ARCHIVE has one name and
// two operations; so have restores and transitions.
func items() map[usage]string {
	return map[usage]string{
		{"EBS:SnapshotUsage", ""}:            snapshotItem,
		{"EBS:SnapshotArchiveStorage", ""}:   archiveItem,
		{"EBS:SnapshotArchiveRetrieval", ""}: retrievalItem,
		{"EBS:directAPI.snapshot.List", ""}:  listItem,
		{"EBS:directAPI.snapshot.Get", ""}:   getItem,
		{"EBS:VolumeUsage.gp3", ""}:          "ebs:gp3",
		{"EBS:VolumeUsage.gp2", ""}:          "ebs:gp2",
		{"EBS:VolumeUsage.st1", ""}:          "ebs:st1",
		{"EBS:VolumeUsage.sc1", ""}:          "ebs:sc1",
		{"EBS:VolumeUsage", ""}:              "ebs:standard",
		{"EBS:VolumeIOUsage", ""}:            "ebs:standard-io",
		{"EBS:VolumeUsage.piops", ""}:        "ebs:io1",
		{"EBS:VolumeUsage.io2", ""}:          "ebs:io2",
		{"EBS:VolumeP-IOPS.piops", ""}:       "ebs:io1-iops",
		{"EBS:VolumeP-IOPS.io2", ""}:         "ebs:io2-iops",

		{"TimedStorage-ByteHrs", ""}:        "s3:STANDARD",
		{"TimedStorage-INT-FA-ByteHrs", ""}: "s3:INTELLIGENT_TIERING",
		{"TimedStorage-SIA-ByteHrs", ""}:    "s3:STANDARD_IA",
		{"TimedStorage-ZIA-ByteHrs", ""}:    "s3:ONEZONE_IA",
		{"TimedStorage-GIR-ByteHrs", ""}:    "s3:GLACIER_IR",
		{"TimedStorage-GlacierByteHrs", ""}: "s3:GLACIER",
		{"TimedStorage-GDA-ByteHrs", ""}:    "s3:DEEP_ARCHIVE",

		{"Requests-Tier1", ""}:                                   "s3:STANDARD-put",
		{"Requests-Tier2", ""}:                                   "s3:STANDARD-get",
		{"Requests-INT-Tier1", ""}:                               "s3:INTELLIGENT_TIERING-put",
		{"Requests-INT-Tier2", ""}:                               "s3:INTELLIGENT_TIERING-get",
		{"Requests-SIA-Tier1", ""}:                               "s3:STANDARD_IA-put",
		{"Requests-SIA-Tier2", ""}:                               "s3:STANDARD_IA-get",
		{"Requests-ZIA-Tier1", ""}:                               "s3:ONEZONE_IA-put",
		{"Requests-ZIA-Tier2", ""}:                               "s3:ONEZONE_IA-get",
		{"Requests-GIR-Tier1", ""}:                               "s3:GLACIER_IR-put",
		{"Requests-GIR-Tier2", ""}:                               "s3:GLACIER_IR-get",
		{"Requests-GLACIER-Tier1", "PutObject"}:                  "s3:GLACIER-put",
		{"Requests-GLACIER-Tier2", ""}:                           "s3:GLACIER-get",
		{"Requests-GDA-Tier1", ""}:                               "s3:DEEP_ARCHIVE-put",
		{"Requests-GDA-Tier2", ""}:                               "s3:DEEP_ARCHIVE-get",
		{"Requests-Tier3", "RestoreObject"}:                      "s3:GLACIER-restore",
		{"Requests-GDA-Tier3", ""}:                               "s3:DEEP_ARCHIVE-restore",
		{"Requests-Tier3", "S3-GlacierTransition"}:               "s3:GLACIER-transition",
		{"Requests-Tier3", "S3-GDATransition"}:                   "s3:DEEP_ARCHIVE-transition",
		{"Retrieval-SIA", ""}:                                    "s3:STANDARD_IA-retrieval",
		{"Retrieval-ZIA", ""}:                                    "s3:ONEZONE_IA-retrieval",
		{"Retrieval-GIR", ""}:                                    "s3:GLACIER_IR-retrieval",
		{"Retrieval-SIA-GIR", ""}:                                "s3:GLACIER_IR-retrieval",
		{"Standard-Retrieval-Bytes", "RestoreObject"}:            "s3:GLACIER-retrieval",
		{"Standard-Retrieval-Bytes", "DeepArchiveRestoreObject"}: "s3:DEEP_ARCHIVE-retrieval",
	}
}

var regionPrefix = regexp.MustCompile(`^[A-Z][A-Z0-9]+-`)

// itemOf is what a product is to us, if anything.
func (p product) itemOf(items map[usage]string) (item, bool) {
	if p.region == "" || p.place != "" && p.place != "AWS Region" {
		return item{}, false // of an Outpost, a local zone
	}
	name := p.usage
	if prefix := regionPrefix.FindString(name); prefix != "" {
		name = name[len(prefix):]
	}
	// What has a price of its own by operation is not of another operation.
	for _, operation := range []string{p.operation, ""} {
		if i, ok := items[usage{name, operation}]; ok {
			return item{p.region, i}, true
		}
	}
	return item{}, false
}

// offered is one price of the list.
type offered struct{ operation, begin, unit, amount string }

// take adds a price of a product, or notes why not.
func (l *listing) take(i item, o offered) error {
	if o.begin != "0" && o.begin != "" {
		return nil // a later step
	}
	if o.amount == "" {
		l.notes[fmt.Sprintf("%s: its price is not in %s", i.words(), RegionCurrency(i.region))] = true
		return nil
	}
	want := unitOf(i.name)
	times, ok := timesOf(want, o.unit)
	if !ok {
		l.notes[fmt.Sprintf("%s: its price is for a unit of %q", i.words(), o.unit)] = true
		return nil
	}
	amount, err := scaled(o.amount, times)
	if err != nil {
		return fmt.Errorf("price of %s: %w", i.words(), err)
	}
	// What is of no operation is what an item costs in general; others beside it
	// are special cases (overhead of objects, and the like).
	plain := o.operation == ""
	p, known := l.prices[i]
	if !known || plain && !l.plain[i] || plain == l.plain[i] && amount > p.amount {
		l.prices[i], l.plain[i] = price{amount: amount, unit: want}, plain
	}
	return nil
}

// timesOf is how many of the list's units are one of ours.
func timesOf(ours unit, theirs string) (int64, bool) {
	known := map[unit][]string{
		gibMonth:  {"gb-mo", "gb-month"},
		gib:       {"gb"},
		iopsMonth: {"iops-mo"},
		thousand:  {"requests", "request", "snapshotapiunits", "api requests"},
		million:   {"ios", "io requests"},
	}
	times := map[unit]int64{gibMonth: 1, gib: 1, iopsMonth: 1, thousand: 1000, million: 1_000_000}
	return times[ours], slices.Contains(known[ours], strings.ToLower(theirs))
}

var decimal = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,15})?$`)

// scaled is a decimal times n as Money, rounded up.
func scaled(text string, n int64) (Money, error) {
	if !decimal.MatchString(text) {
		return 0, fmt.Errorf("%q is not an amount", text)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, fmt.Errorf("%q is not an amount", text)
	}
	r.Mul(r, new(big.Rat).SetInt64(n*int64(Dollar)))
	up := new(big.Int).Add(r.Num(), new(big.Int).Sub(r.Denom(), big.NewInt(1)))
	if up.Quo(up, r.Denom()); !up.IsInt64() {
		return 0, fmt.Errorf("%q is more than can be counted", text)
	}
	return Money(up.Int64()), nil
}
