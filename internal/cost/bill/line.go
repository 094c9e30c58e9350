package bill

import (
	"bytes"
	"errors"
	"fmt"
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
	blended  int64 // in the same; cost where a report does not tell
	rate     int64 // cost.Money
	period   int   // month of the bill it is in: see monthOf
	early    bool  // it is dated before that month
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

const (
	maxSpan    = 367 * secondsPerDay
	correction = "Correction" // of an earlier month, in FOCUS
)

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
	l.blended = l.cost
	if len(r[fieldBlended]) > 0 {
		if l.blended, err = number(r, fieldBlended, unitDecimals); err != nil {
			return l, err
		}
	}
	// FOCUS lets corrections of earlier months be of money alone.
	if len(r[fieldAmount]) > 0 || s.stores() && string(r[fieldClass]) != correction {
		if l.amount, err = number(r, fieldAmount, unitDecimals); err != nil {
			return l, err
		}
	}
	if len(r[fieldRate]) > 0 {
		if l.rate, err = number(r, fieldRate, rateDecimals); err != nil {
			return l, err
		}
	}
	if l.rate == 0 {
		l.rate = rateOf(l.cost, l.amount)
	}
	return l, l.bill(r)
}

// bill finds the month of the bill that a line is in. A line may be before that: what
// is billed late, or corrected; nothing promises that it is not
// (https://docs.aws.amazon.com/cur/latest/userguide/billing-columns.html). It cannot be
// after it, by more than the day that local time may differ from UTC by: what is
// stored is billed once it has been.
func (l *line) bill(r *row) error {
	text := r[fieldPeriod]
	if len(text) == 0 {
		l.period = monthOf(int32(l.from / secondsPerDay))
		return nil
	}
	day, ok := parseDay(text)
	if !ok {
		return &fieldError{fieldPeriod, text, errNoTime}
	}
	l.period = monthOf(day)
	if end := int64(firstOf(l.period + 1)); l.to > (end+1)*secondsPerDay {
		f := fieldEnd
		if r[f] == nil {
			f = fieldInterval
		}
		return &fieldError{f, r[f], fmt.Errorf("is after the line's billing period, %s", monthText(l.period))}
	}
	l.early = l.from < int64(firstOf(l.period))*secondsPerDay && string(r[fieldClass]) != correction
	return nil
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
