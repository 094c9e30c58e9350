package bill

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
)

const (
	maxSnapshots = 2 << 20 // 600 bytes of memory each, at most, while the result is made
	maxPlaces    = 1 << 16 // accounts times regions
	maxAccount   = 64      // bytes of an account's id that are looked at; AWS's have 12
)

// key is one snapshot in one tier.
type key struct {
	id    packedID
	place uint32 // in ledger.places
	tier  Tier
}

// place is one account in one region, where snapshots are.
type place struct {
	partition, region, account string
	who                        int   // in ledger.linked: of its newest line of storage
	begun, last                int32 // the newest days that a line of storage begins on, and is about; never

	// What settle finds: the day that counts, up to which day nothing can be
	// missing, and the first day of its payer's bill.
	day, sure, first int32
	unproven         bool  // not even day is known to be complete
	there, missing   int32 // snapshots whose lines are waited for, on the day after
}

func (p *place) name() string {
	if p.account == "" {
		return p.region
	}
	return p.account + " in " + p.region
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
	blended     int64 // in the same
}

// ledger adds up lines. It belongs to one goroutine.
type ledger struct {
	entries []entry
	index   map[key]uint32
	places  []place
	placeAt map[string]uint32 // by what stands before the id in an ARN, and the line's account
	linked  []linked

	linkedAt   map[string]int // by payer and account
	lastLinked int

	currency   string
	days       extent // of lines of snapshots
	several    bool   // there is more than one assembly: lines may come twice
	repeats    repeats
	claims     claims
	months     map[payerMonth]bool // that there are lines of usage of
	left       leftOut
	scratch    []byte
	sources    []Source
	assemblies []int // of the sources
	notes      []string
	bytes      int64
	rows       int64
	progress   func(bytes, rows int64)
	reported   int64
	assembly   int // of the file being read
	lastPlace  uint32
	lastARN    string // of lastPlace
}

// extent is the first and the last day.
type extent struct{ first, last int32 }

func (e *extent) add(day int32, span int64) {
	e.first = min(e.first, day-int32(span)+1)
	e.last = max(e.last, day)
}

func newLedger(progress func(bytes, rows int64)) *ledger {
	return &ledger{
		index: map[key]uint32{}, placeAt: map[string]uint32{}, linkedAt: map[string]int{},
		days: extent{math.MaxInt32, never}, progress: progress, claims: claims{}, months: map[payerMonth]bool{},
		repeats: repeats{forms: map[form]uint32{}, heads: map[stretch]uint32{}},
	}
}

var (
	errManySnapshots = errors.New("more than two million snapshots")             // maxSnapshots
	errManyPlaces    = errors.New("more than 65536 pairs of account and region") // maxPlaces
	errManyAccounts  = errors.New("more than 65536 accounts")                    // maxPlaces
	errOverflow      = errors.New("is too large: the sum cannot be counted")
)

// add counts one line of snapshots: r has all fields, s what its usage type says.
// It keeps nothing of r. The errors are *fieldError, or about the whole bill.
func (l *ledger) add(r *row, s storage, src *Source) error {
	n, err := readLine(r, s)
	if err != nil {
		return err
	}
	if err := l.money(r); err != nil {
		return err
	}
	k, at, err := l.find(r, &n)
	if at < 0 || err != nil {
		return err
	}
	if err := l.fits(k, &n, r); err != nil {
		return err
	}
	if err := l.once(uint32(at), k, r, &n, src); err != nil {
		return err
	}
	src.SnapshotRows++
	return l.book(&l.entries[at], k.place, &n, r)
}

// fits refuses an amount that no snapshot can have.
func (l *ledger) fits(k key, n *line, r *row) error {
	if n.charge != chargeUsage || !n.storage.stores() {
		return nil
	}
	day, span := n.day()
	if n.amount <= maxVolume>>30*perUnit/31*span { // and so in any month
		return nil
	}
	if size, _ := stored(n.amount, day, span); size > maxVolume {
		err := fmt.Errorf("stands for %s of %s of %s, and no volume has more than %s", gib(size), k.id.id(), l.places[k.place].name(), gib(maxVolume))
		return &fieldError{fieldAmount, r[fieldAmount], err}
	}
	return nil
}

// find is what a line is of, and the number of its entry; -1 where it is of no
// snapshot, or is tax, which is noted.
func (l *ledger) find(r *row, n *line) (key, int, error) {
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
		return key{}, -1, nil
	case len(resource) == 0:
		l.left.nameless++
		l.left.namelessCost += n.cost
		return key{}, -1, nil
	case !ok:
		l.left.foreign++
		l.left.foreignCost += n.cost
		if l.left.example == "" {
			l.left.example = sample([]string{string(resource)})
		}
		return key{}, -1, nil
	}
	where, err := l.place(a, r[fieldAccount], resource[:len(resource)-len(a.id)])
	if err != nil {
		return key{}, -1, err
	}
	k := key{id, where, n.storage.tier()}
	at, known := l.index[k]
	if !known {
		if len(l.entries) >= maxSnapshots {
			return key{}, -1, hint.Wrap(errManySnapshots, "read the bill of fewer accounts at a time")
		}
		at = uint32(len(l.entries))
		l.entries = append(l.entries, entry{first: math.MaxInt32, last: math.MinInt32})
		l.index[k] = at
	}
	return k, int(at), nil
}

// place is the number of an account in a region. An ARN without an account is
// of the account that the line is billed to.
func (l *ledger) place(a arn, billed, prefix []byte) (uint32, error) {
	if len(a.account) > 0 && string(prefix) == l.lastARN {
		return l.lastPlace, nil // lines of one account and region come together
	}
	who := a.account
	if len(who) == 0 {
		who = billed[:min(maxAccount, len(billed))]
	}
	l.scratch = append(append(l.scratch[:0], prefix...), who...)
	at, ok := l.placeAt[string(l.scratch)]
	if !ok {
		if len(l.places) >= maxPlaces {
			return 0, hint.Wrap(errManyPlaces, "read the bill of fewer accounts at a time")
		}
		p := place{partition: string(a.partition), region: string(a.region), account: string(who), begun: never, last: never}
		at = uint32(len(l.places))
		l.places = append(l.places, p)
		l.placeAt[string(l.scratch)] = at
	}
	if len(a.account) > 0 {
		l.lastARN, l.lastPlace = string(prefix), at
	}
	return at, nil
}

// money checks that all lines are in one currency. Where the report has no such
// column, it is the one that AWS prices the snapshot's region in.
func (l *ledger) money(r *row) error {
	text := r[fieldCurrency]
	switch {
	case text == nil:
		a, ok := parseARN(r[fieldResource])
		if !ok {
			return nil // that of the others
		}
		text = []byte(cost.RegionCurrency(string(a.region)))
	case len(text) != 3 || len(bytes.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")) > 0:
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
	if e.blended, ok = plus(e.blended, n.blended); !ok {
		return &fieldError{fieldBlended, r[fieldBlended], errOverflow}
	}
	begin := day - int32(span) + 1
	l.days.add(day, span)
	e.first, e.last = min(e.first, begin), max(e.last, day)
	who, err := l.whose(r[fieldPayer], r[fieldAccount])
	if err != nil {
		return err
	}
	who.reach(begin)
	who.first = min(who.first, begin)
	l.saw(who, begin, day)
	if !n.storage.stores() {
		return nil
	}
	if n.early {
		l.left.early, l.left.earlyDay, l.left.earlyPeriod = l.left.early+1, day, n.period
	}
	if len(r[fieldInvoice]) > 0 && int64(date(day).Day()) == monthDays(day) {
		who.invoiced = max(who.invoiced, day)
	}
	who.begun = max(who.begun, begin)
	p := &l.places[where]
	if begin >= p.begun {
		p.begun, p.who = begin, l.lastLinked
	}
	p.last = max(p.last, day)
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

// other notes a line of anything else: that the bill of an account has come to a day.
func (l *ledger) other(r *row, start field) error {
	who, err := l.whose(r[fieldPayer], r[fieldAccount])
	if err != nil {
		return err
	}
	if day, ok := parseDay(r[start]); ok && (day > who.days[1] || !who.within(day)) && chargeOf(r[fieldLineType]) == chargeUsage {
		who.reach(day)
		l.saw(who, day, day)
	}
	return nil
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
