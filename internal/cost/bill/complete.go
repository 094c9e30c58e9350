package bill

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/hint"
)

// late is how many days the bill of one account or region may be behind those of
// the others before what it lacks is taken for gone.
const late = 2

// never is before any day.
const never = math.MinInt32

// linked is an account, as one payer is billed for it.
type linked struct {
	payer, account string   // "" where the report has no such column
	days           [2]int32 // the newest two that lines of usage of any service begin on, the newest first
	begun          int32    // the newest that a line of storage of snapshots begins on
	first          int32    // the first day with lines of snapshots
	invoiced       int32    // the newest last day of a month with a line of snapshots that is on an invoice
	from, to       int32    // the month that a line of usage was seen of last: its first day, and that of the next
}

// reach notes that a line of usage begins on a day.
func (a *linked) reach(day int32) {
	switch {
	case day > a.days[0]:
		a.days = [2]int32{day, a.days[0]}
	case day > a.days[1] && day < a.days[0]:
		a.days[1] = day
	}
}

// come is the day that its bill has come to: the newest with lines, if the day
// before has some as well. A day alone may be dated ahead; lines of snapshots are not.
func (a *linked) come() int32 {
	newest := a.days[0]
	if a.days[1] != never && a.days[1] != newest-1 {
		newest = a.days[1]
	}
	return max(newest, a.begun)
}

// whose is the record of an account; it is good until the next call.
func (l *ledger) whose(payer, account []byte) (*linked, error) {
	if len(l.linked) > 0 {
		if at := &l.linked[l.lastLinked]; string(account) == at.account && string(payer) == at.payer {
			return at, nil
		}
	}
	payer, account = payer[:min(maxAccount, len(payer))], account[:min(maxAccount, len(account))]
	l.scratch = append(append(append(l.scratch[:0], payer...), 0), account...)
	at, ok := l.linkedAt[string(l.scratch)]
	if !ok {
		if len(l.linked) >= maxPlaces {
			return nil, hint.Wrap(errManyAccounts, "read the bill of fewer accounts at a time")
		}
		at = len(l.linked)
		l.linkedAt[string(l.scratch)] = at
		l.linked = append(l.linked, linked{
			payer: string(payer), account: string(account), days: [2]int32{never, never}, begun: never, first: math.MaxInt32, invoiced: never,
		})
	}
	l.lastLinked = at
	return &l.linked[at], nil
}

// payer is how far the bill of all accounts of one payer has come.
type payer struct {
	come, first int32
	invoiced    int32 // it is final up to this day
}

// missed counts, for each day that may be incomplete, the snapshots with a line
// on the day before, and those of them without one on that day or later.
type missed struct{ there, missing [late]int32 }

// sudden says whether so many snapshots vanish at once that it is rather their
// lines that are not written yet: more than one and more than half, or more than
// three and more than a tenth.
func (m *missed) sudden(i int32) bool {
	there, missing := m.there[i], m.missing[i]
	return missing > 1 && 2*missing > there || missing > 3 && 10*missing > there
}

// settle finds the day that counts in each place: its newest complete day. A
// snapshot without a line on that day or later is gone; one with a line on it is
// as large as it says there. AWS writes bills service by service, account by
// account, over hours, and a snapshot's line of a day comes after that day's last
// hour, so that the newest day is not complete because it has lines. These rules
// say up to which day a place is complete, of which the latest counts:
//
//   - The day before its newest lines of snapshots: for them to be there, the day
//     before has long been billed.
//   - A month whose last day has lines of snapshots on an invoice: charges of usage
//     are final once that is written
//     (https://docs.aws.amazon.com/cur/latest/userguide/view-finalized-cur.html).
//     It holds for all accounts of that payer. FOCUS 1.0 has no invoices.
//   - late days before the day before the newest lines of its payer, whichever
//     account's and service's: an account or region behind by more has been closed
//     or emptied. Bills of other payers say nothing of it.
//   - The day before the newest lines of its account, of any service in any region:
//     so the only snapshot of a region is seen to be deleted. But snapshots may be
//     billed later than the rest. If many are missing at once on a day that
//     only this rule calls complete ([missed.sudden]), the day before it counts.
//
// Without a column for the account it is the payer's bill that tells how far it has
// come, without one for the payer either the whole bill.
//
// Where that is before all lines of the payer, there is no better than the newest.
func (l *ledger) settle() {
	accounts, payers := l.reached()
	for i := range l.places {
		p := &l.places[i]
		p.day = never
		if p.last == never {
			continue
		}
		who := &l.linked[p.who]
		p.first = payers[who.payer].first
		if who.account != "" {
			who = &l.linked[accounts[who.account]] // of the payer that it has now
		}
		pays := payers[who.payer]
		p.sure = max(p.begun-1, pays.invoiced, pays.come-1-late)
		p.day = max(p.sure, who.come()-1)
		p.first = min(p.first, pays.first)
	}
	counts := l.missing()
	for i := range l.places {
		p, m := &l.places[i], &counts[i]
		for d := p.sure + 1; p.day != never && d <= p.day; d++ {
			if m.sudden(d - p.sure - 1) {
				p.day, p.there, p.missing = d-1, m.there[d-p.sure-1], m.missing[d-p.sure-1]
			}
		}
		if p.day != never && p.day < p.first {
			p.day, p.unproven = p.last, true
		}
	}
}

// reached is how far the bill has come: the record of each account that has
// come farthest, and by payer.
func (l *ledger) reached() (accounts map[string]int, payers map[string]payer) {
	accounts, payers = map[string]int{}, map[string]payer{}
	for i := range l.linked {
		a := &l.linked[i]
		if before, ok := accounts[a.account]; !ok || a.come() > l.linked[before].come() {
			accounts[a.account] = i
		}
		p, ok := payers[a.payer]
		if !ok {
			p = payer{never, math.MaxInt32, never}
		}
		payers[a.payer] = payer{max(p.come, a.come()), min(p.first, a.first), max(p.invoiced, a.invoiced)}
	}
	return accounts, payers
}

// missing counts for settle, by place. A snapshot that has gone to the other tier
// is not missing.
func (l *ledger) missing() []missed {
	counts := make([]missed, len(l.places))
	for k, at := range l.index {
		p, e := &l.places[k.place], &l.entries[at]
		if p.day == never || e.newest[0].span == 0 {
			continue
		}
		for d := p.sure + 1; d <= p.day; d++ {
			last, i := e.newest[0].day, d-p.sure-1
			if last < d-1 || e.first > d-1 {
				continue
			}
			counts[k.place].there[i]++
			if last == d-1 && !l.otherTier(k, d) {
				counts[k.place].missing[i]++
			}
		}
	}
	return counts
}

// otherTier says whether a snapshot has a line of its other tier on a day or later.
func (l *ledger) otherTier(k key, day int32) bool {
	k.tier = Standard + Archive - k.tier
	at, ok := l.index[k]
	return ok && l.entries[at].newest[0].span > 0 && l.entries[at].newest[0].day >= day
}

// areas are the places with lines of storage, and the newest of their days.
func (l *ledger) areas() (all []Area, newest time.Time) {
	for i := range l.places {
		if p := &l.places[i]; p.day != never {
			a := Area{p.partition, p.account, p.region, date(p.day)}
			all = append(all, a)
			if a.Newest.After(newest) {
				newest = a.Newest
			}
		}
	}
	slices.SortFunc(all, func(a, b Area) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Partition, b.Partition))
	})
	return all, newest
}

// dayNotes says where the day that counts is not simply the newest, and why.
func (l *ledger) dayNotes() []string {
	counts, waits, unproven := map[int32][]string{}, map[int32][]string{}, map[int32][]string{}
	var sudden, empty []string
	for i := range l.places {
		p := &l.places[i]
		if p.day == never {
			continue
		}
		name, day := p.name(), onDay(p.day)
		counts[p.day] = append(counts[p.day], name)
		switch {
		case p.missing > 0:
			sudden = append(sudden, fmt.Sprintf("%s: %d of %d snapshots have no line on %s, which no later line confirms: they are taken to be there, and sizes are of %s",
				name, p.missing, p.there, onDay(p.day+1), day))
		case p.unproven:
			unproven[p.day] = append(unproven[p.day], name)
		case p.last > p.day:
			waits[p.day] = append(waits[p.day], name)
		case p.last < p.day:
			empty = append(empty, name+" after "+onDay(p.last))
		}
	}
	var notes []string
	if len(counts) > 1 {
		notes = append(notes, "the newest complete day is not the same everywhere: "+byDay(counts))
	}
	if len(waits) > 0 {
		notes = append(notes, "nothing says that the bill of later days is complete: sizes are of "+byDay(waits))
	}
	if len(unproven) > 0 {
		notes = append(notes, "nothing says that any day of the bill is complete: sizes are of "+byDay(unproven))
	}
	if len(empty) > 0 {
		notes = append(notes, "no lines, and so all snapshots taken for deleted: "+few(empty))
	}
	if len(sudden) > 0 {
		notes = append(notes, few(sudden))
	}
	return notes
}

// byDay names what each day is of.
func byDay(names map[int32][]string) string {
	texts := make([]string, 0, len(names))
	for d, of := range names {
		texts = append(texts, onDay(d)+" ("+few(of)+")")
	}
	return few(texts)
}

// few is the first of some names, in order, and how many more there are.
func few(names []string) string {
	const shown = 4
	slices.Sort(names)
	if more := len(names) - shown; more > 1 {
		return strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

func onDay(day int32) string { return date(day).Format(time.DateOnly) }
