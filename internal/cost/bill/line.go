package bill

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"snap-to-s3/internal/snapshot"
)

// charge is what a line does to the sums.
type charge int

const (
	// chargeUsage is use of storage and what is billed for it. Corrections are
	// lines of usage with a negative amount; they count as they stand, in size and
	// in cost, since AWS takes a wrong line back with one and bills the right
	// amount with another: without the first the size would be the sum of both.
	chargeUsage charge = iota
	// chargeNet is money given back or charged besides: Credit, Refund,
	// EdpDiscount, BundledDiscount, PrivateRateDiscount, SavingsPlanNegation, Fee …
	// in CUR; Credit, Purchase and Adjustment in FOCUS. It changes what is paid,
	// not what storage costs at its rate: a credit runs out, and what moving a
	// snapshot saves is its rate.
	chargeNet
	// chargeTax is left out of all sums: it depends on who pays, is booked by
	// service rather than by resource, and costs are compared without it.
	chargeTax
)

// chargeOf maps lineItem/LineItemType
// (https://docs.aws.amazon.com/cur/latest/userguide/Lineitem-columns.html) and
// ChargeCategory of FOCUS.
func chargeOf(text []byte) charge {
	switch string(text) {
	case "Usage", "DiscountedUsage", "SavingsPlanCoveredUsage":
		return chargeUsage
	case "Tax":
		return chargeTax
	}
	return chargeNet
}

// storage is what a usage type of snapshots stands for.
type storage int

const (
	notSnapshot storage = iota
	standardStorage
	archiveStorage
	standardOther // cost only: EBS:SnapshotUsageUnderBilling …
	archiveOther  // cost only: retrieval, early deletion
)

const (
	usagePrefix    = "EBS:Snapshot"
	standardSuffix = "Usage"
	archivePrefix  = "Archive"
	archiveSuffix  = "ArchiveStorage"
)

// storageOf reads a usage type such as "USW2-EBS:SnapshotUsage", whose prefix
// names the region and is missing in us-east-1. The whole of the rest counts:
// there are others that begin the same.
func storageOf(usageType []byte) storage {
	if len(usageType) == 0 {
		return notSnapshot
	}
	if usageType[0] != 'E' || !bytes.HasPrefix(usageType, []byte(usagePrefix)) {
		dash := bytes.LastIndexByte(usageType, '-')
		if dash < 0 {
			return notSnapshot
		}
		usageType = usageType[dash+1:]
	}
	rest, ok := bytes.CutPrefix(usageType, []byte(usagePrefix))
	switch {
	case !ok:
		return notSnapshot
	case string(rest) == standardSuffix:
		return standardStorage
	case string(rest) == archiveSuffix:
		return archiveStorage
	case bytes.HasPrefix(rest, []byte(archivePrefix)):
		return archiveOther
	}
	return standardOther
}

func (s storage) tier() Tier {
	if s == archiveStorage || s == archiveOther {
		return Archive
	}
	return Standard
}

func (s storage) stores() bool { return s == standardStorage || s == archiveStorage }

// line is one line of a snapshot, read.
type line struct {
	charge   charge
	storage  storage
	from, to int64 // seconds since 1970
	amount   int64 // GiB-months, in units of 1/perUnit
	cost     int64 // in the same
	rate     int64 // cost.Money
}

// day is the day that a line belongs to; span is how many days it is about. A
// line within 24 hours is one snapshot-day, whatever the granularity of the
// report: AWS bills a snapshot once a day, in the day's last hour. A longer line
// belongs to its last day.
func (l *line) day() (day int32, span int64) {
	if l.to-l.from <= secondsPerDay {
		return int32(l.from / secondsPerDay), 1
	}
	first := l.from / secondsPerDay
	last := (l.to - 1) / secondsPerDay
	return int32(last), last - first + 1
}

// fieldError is what is wrong with one field of a line.
type fieldError struct {
	field field
	text  []byte
	err   error
}

func (e *fieldError) Error() string {
	const long = 60
	text := e.text
	if len(text) > long {
		text = append(text[:long:long], "…"...)
	}
	return fmt.Sprintf("%q %v", text, e.err)
}

func (e *fieldError) Unwrap() error { return e.err }

var (
	errNoTime   = errors.New("is not a time such as 2024-09-30T23:00:00Z")
	errReversed = errors.New("is not after the line's start")
	errTooLong  = errors.New("is more than a year after the line's start")
)

const maxSpan = 367 * secondsPerDay

// readLine parses what of a row counts; the usage type has been looked at.
func readLine(r *row, s storage) (line, error) {
	l := line{charge: chargeOf(r[fieldLineType]), storage: s}
	var err error
	if l.from, l.to, err = interval(r); err != nil {
		return l, err
	}
	if l.cost, err = number(r, fieldCost, unitDecimals); err != nil {
		return l, err
	}
	if l.charge != chargeUsage {
		return l, nil
	}
	// FOCUS lets corrections of earlier months be of money alone.
	if len(r[fieldAmount]) > 0 || s.stores() && string(r[fieldClass]) != "Correction" {
		if l.amount, err = number(r, fieldAmount, unitDecimals); err != nil {
			return l, err
		}
	}
	for _, f := range []field{fieldRate, fieldListRate} {
		if l.rate == 0 && len(r[f]) > 0 {
			if l.rate, err = number(r, f, rateDecimals); err != nil {
				return l, err
			}
		}
	}
	return l, nil
}

func number(r *row, f field, decimals int) (int64, error) {
	n, err := parseNumber(r[f], decimals)
	if err != nil {
		return 0, &fieldError{f, r[f], err}
	}
	return n, nil
}

// interval is when a line begins and ends: by its usage dates, or by
// identity/TimeInterval where a report has no dates.
func interval(r *row) (from, to int64, err error) {
	begin, end, beginField, endField := r[fieldStart], r[fieldEnd], fieldStart, fieldEnd
	if begin == nil || end == nil {
		begin, end, _ = bytes.Cut(r[fieldInterval], []byte("/"))
		beginField, endField = fieldInterval, fieldInterval
	}
	from, ok := parseTime(begin)
	if !ok {
		return 0, 0, &fieldError{beginField, begin, errNoTime}
	}
	to, ok = parseTime(end)
	switch {
	case !ok:
		return 0, 0, &fieldError{endField, end, errNoTime}
	case to <= from:
		return 0, 0, &fieldError{endField, end, errReversed}
	case to-from > maxSpan:
		return 0, 0, &fieldError{endField, end, errTooLong}
	}
	return from, to, nil
}

// arn is a snapshot's ARN, in parts of the text it was read from.
type arn struct{ partition, region, account, id []byte }

// parseARN reads "arn:aws:ec2:us-west-2:123456789012:snapshot/snap-…".
func parseARN(text []byte) (arn, bool) {
	var a arn
	rest, ok := bytes.CutPrefix(text, []byte("arn:"))
	if !ok {
		return a, false
	}
	a.partition, rest, _ = bytes.Cut(rest, []byte(":"))
	rest, ok = bytes.CutPrefix(rest, []byte("ec2:"))
	if !ok || !plain(a.partition) {
		return a, false
	}
	a.region, rest, _ = bytes.Cut(rest, []byte(":"))
	a.account, rest, _ = bytes.Cut(rest, []byte(":"))
	a.id, ok = bytes.CutPrefix(rest, []byte("snapshot/"))
	return a, ok && plain(a.region) && (len(a.account) == 0 || account(a.account))
}

// plain says whether text may stand in a partition's or region's name.
func plain(text []byte) bool {
	const long = 40
	if len(text) == 0 || len(text) > long {
		return false
	}
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func account(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) == 12
}

// packedID is a snapshot's id in twelve bytes: a million of them must fit.
type packedID struct {
	low  uint64
	high uint8 // the seventeenth digit
	old  bool  // 8 digits
}

const idPrefix = "snap-"

func packID(text []byte) (packedID, bool) {
	digits, ok := bytes.CutPrefix(text, []byte(idPrefix))
	if !ok || len(digits) != 8 && len(digits) != 17 {
		return packedID{}, false
	}
	p := packedID{old: len(digits) == 8}
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return packedID{}, false
		}
		p.high = uint8(p.low >> 60)
		p.low = p.low<<4 | uint64(c)
	}
	return p, true
}

func (p packedID) id() snapshot.ID {
	text := strconv.FormatUint(p.low, 16)
	width := 8
	if !p.old {
		width = 16
	}
	for len(text) < width {
		text = "0" + text
	}
	if !p.old {
		text = strconv.FormatUint(uint64(p.high), 16) + text
	}
	return snapshot.ID(idPrefix + text)
}
