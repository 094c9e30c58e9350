package bill

import (
	"errors"
	"fmt"
	"math"

	"snap-to-s3/internal/hint"
)

const (
	maxSnapshots = 2 << 20 // 600 bytes of memory each, at most, while the result is made
	maxPlaces    = 1 << 16 // accounts times regions
)

// key is one snapshot in one tier.
type key struct {
	id    packedID
	place uint32 // in ledger.places
	tier  Tier
}

// place is where a snapshot is.
type place struct {
	partition, region, account string
	area                       int // in ledger.areas
}

// area is a region, of all accounts: days become complete by region.
type area struct {
	name string          // partition and region
	days map[int32]int64 // lines of storage on each day
}

// slot is the sum of a snapshot's lines on one day.
type slot struct {
	day    int32
	span   int32 // days the lines are about
	amount int64
	rate   int64
}

// entry is what has been read of one snapshot in one tier.
type entry struct {
	// newest has the two newest days, newest first: one of them counts, since only
	// the newest day of a bill may be incomplete.
	newest      [2]slot
	first, last int32 // days with lines
	cost, net   int64 // in units of 1/perUnit
}

// ledger adds up lines. It belongs to one goroutine.
type ledger struct {
	entries []entry
	index   map[key]uint32
	places  []place
	placeAt map[string]uint32 // by what stands before the id in an ARN, and the line's account
	areas   []area
	areaAt  map[string]int

	currency  string
	days      extent // of lines of snapshots
	all       int32  // the newest day that a line of usage of any service begins on
	several   bool   // there is more than one assembly: lines may come twice
	seen      lines
	claims    claims
	left      leftOut
	scratch   []byte
	sources   []Source
	notes     []string
	bytes     int64
	rows      int64
	progress  func(bytes, rows int64)
	reported  int64
	assembly  int // of the file being read
	lastPlace uint32
	lastARN   string // of lastPlace
}

// leftOut is what was read but counted in no snapshot, for the notes.
type leftOut struct {
	nameless, foreign, tax, twice int64 // lines
	namelessCost, foreignCost     int64
	taxCost                       int64
	example                       string // a resource that is no snapshot
}

// extent is the first and the last day.
type extent struct{ first, last int32 }

func (e *extent) add(day int32, span int64) {
	e.first = min(e.first, day-int32(span)+1)
	e.last = max(e.last, day)
}

func newLedger(progress func(bytes, rows int64)) *ledger {
	return &ledger{
		index: map[key]uint32{}, placeAt: map[string]uint32{}, areaAt: map[string]int{},
		days: extent{math.MaxInt32, math.MinInt32}, all: math.MinInt32, progress: progress, claims: claims{},
	}
}

var (
	errManySnapshots = errors.New("more than two million snapshots")             // maxSnapshots
	errManyPlaces    = errors.New("more than 65536 pairs of account and region") // maxPlaces
	errOverflow      = errors.New("is too large: the sum cannot be counted")
)

// add counts one line of snapshots: r has all fields, s what its usage type says.
// It keeps nothing of r. The errors are *fieldError, or about the whole bill.
func (l *ledger) add(r *row, s storage, src *Source) error {
	n, err := readLine(r, s)
	if err != nil {
		return err
	}
	e, where, err := l.find(r, &n)
	if e == nil || err != nil {
		return err
	}
	if err := l.money(r); err != nil {
		return err
	}
	if twice, err := l.repeated(r, &n, src); twice || err != nil {
		l.left.twice++
		return err
	}
	src.SnapshotRows++
	return l.book(e, where, &n, r)
}

// find is the entry of a line; nil where the line is of no snapshot, or is tax,
// which is noted.
func (l *ledger) find(r *row, n *line) (*entry, uint32, error) {
	resource := r[fieldResource]
	a, ok := parseARN(resource)
	var id packedID
	if ok {
		id, ok = packID(a.id)
	}
	switch {
	case n.charge == chargeTax:
		l.left.tax++
		l.left.taxCost += n.cost
		return nil, 0, nil
	case len(resource) == 0:
		l.left.nameless++
		l.left.namelessCost += n.cost
		return nil, 0, nil
	case !ok:
		l.left.foreign++
		l.left.foreignCost += n.cost
		if l.left.example == "" {
			l.left.example = sample([]string{string(resource)})
		}
		return nil, 0, nil
	}
	where, err := l.place(a, r[fieldAccount], resource[:len(resource)-len(a.id)])
	if err != nil {
		return nil, 0, err
	}
	k := key{id, where, n.storage.tier()}
	at, known := l.index[k]
	if !known {
		if len(l.entries) >= maxSnapshots {
			return nil, 0, hint.Wrap(errManySnapshots, "read the bill of fewer accounts at a time")
		}
		at = uint32(len(l.entries))
		l.entries = append(l.entries, entry{first: math.MaxInt32, last: math.MinInt32})
		l.index[k] = at
	}
	return &l.entries[at], where, nil
}

// place is the number of an account in a region. An ARN without an account is
// of the account that the line is billed to.
func (l *ledger) place(a arn, billed, prefix []byte) (uint32, error) {
	if len(a.account) > 0 && string(prefix) == l.lastARN {
		return l.lastPlace, nil // lines of one account and region come together
	}
	who := a.account
	if len(who) == 0 {
		who = billed
	}
	l.scratch = append(append(l.scratch[:0], prefix...), who...)
	at, ok := l.placeAt[string(l.scratch)]
	if !ok {
		if len(l.places) >= maxPlaces {
			return 0, hint.Wrap(errManyPlaces, "read the bill of fewer accounts at a time")
		}
		p := place{partition: string(a.partition), region: string(a.region), account: string(who)}
		name := p.partition + " " + p.region
		p.area, ok = l.areaAt[name]
		if !ok {
			p.area = len(l.areas)
			l.areaAt[name] = p.area
			l.areas = append(l.areas, area{p.region, map[int32]int64{}})
		}
		at = uint32(len(l.places))
		l.places = append(l.places, p)
		l.placeAt[string(l.scratch)] = at
	}
	if len(a.account) > 0 {
		l.lastARN, l.lastPlace = string(prefix), at
	}
	return at, nil
}

// money checks that all lines are in one currency; a report without the column
// is in dollars, as all were before AWS billed in others.
func (l *ledger) money(r *row) error {
	text := r[fieldCurrency]
	switch {
	case text == nil:
		text = []byte("USD")
	case len(text) != 3:
		return &fieldError{fieldCurrency, text, errors.New("is not a currency such as USD")}
	}
	if l.currency == "" {
		l.currency = string(text)
	}
	if string(text) != l.currency {
		err := fmt.Errorf("is another currency than %s of the lines before", l.currency)
		return hint.Wrap(&fieldError{fieldCurrency, text, err}, "read the bills of each currency on their own")
	}
	return nil
}

// book adds a line to its entry.
func (l *ledger) book(e *entry, where uint32, n *line, r *row) error {
	var ok bool
	if e.net, ok = plus(e.net, n.cost); !ok {
		return &fieldError{fieldCost, r[fieldCost], errOverflow}
	}
	if n.charge != chargeUsage {
		return nil
	}
	day, span := n.day()
	if e.cost, ok = plus(e.cost, n.cost); !ok {
		return &fieldError{fieldCost, r[fieldCost], errOverflow}
	}
	l.days.add(day, span)
	l.all = max(l.all, day)
	e.first, e.last = min(e.first, day-int32(span)+1), max(e.last, day)
	if !n.storage.stores() {
		return nil
	}
	l.areas[l.places[where].area].days[day]++
	if !e.store(slot{day, int32(span), n.amount, n.rate}) {
		return &fieldError{fieldAmount, r[fieldAmount], errOverflow}
	}
	return nil
}

// store adds an amount to its day, if that is among the newest two.
func (e *entry) store(s slot) bool {
	for i := range e.newest {
		at := &e.newest[i]
		switch {
		case at.span == 0: // free
			*at = s
			return true
		case s.day == at.day && s.span == at.span:
			var ok bool
			at.amount, ok = plus(at.amount, s.amount)
			at.rate = max(at.rate, s.rate) // a correction may have none
			return ok
		case s.day > at.day, s.day == at.day && s.span < at.span: // days tell more than a month
			copy(e.newest[i+1:], e.newest[i:])
			*at = s
			return true
		}
	}
	return true
}

// other notes a line of anything else: that the bill has come to a day.
func (l *ledger) other(start, lineType []byte) {
	if day, ok := parseDay(start); ok && day > l.all && chargeOf(lineType) == chargeUsage {
		l.all = day
	}
}

// tell reports progress, once a mebibyte; it is called with what was read since
// the last call.
func (l *ledger) tell(bytes, rows int64) {
	l.bytes += bytes
	l.rows += rows
	const step = 1 << 20
	if l.progress != nil && l.bytes-l.reported >= step {
		l.reported = l.bytes
		l.progress(l.bytes, l.rows)
	}
}
