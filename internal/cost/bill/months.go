package bill

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// payerMonth is one month of one payer's bill.
type payerMonth struct {
	payer string
	month int // see monthOf
}

// within says whether a day is in the month that lines were last seen of.
func (a *linked) within(day int32) bool { return day >= a.from && day < a.to }

// saw notes that there is a bill of the months from one day to another.
func (l *ledger) saw(a *linked, from, to int32) {
	for day := from; day <= to; day = a.to {
		if a.within(day) {
			continue
		}
		m := monthOf(day)
		a.from, a.to = firstOf(m), firstOf(m+1)
		l.months[payerMonth{a.payer, m}] = true
	}
}

// monthNotes names the months between bills that there is none of.
func (l *ledger) monthNotes() []string {
	var notes []string
	var before payerMonth
	for i, at := range slices.SortedFunc(maps.Keys(l.months), func(a, b payerMonth) int {
		return cmp.Or(cmp.Compare(a.payer, b.payer), cmp.Compare(a.month, b.month))
	}) {
		if i > 0 && at.payer == before.payer && at.month > before.month+1 {
			text := "no bill of " + monthText(before.month+1)
			if at.month > before.month+2 {
				text += " to " + monthText(at.month-1)
			}
			if at.payer != "" {
				text += " of payer " + strings.ToValidUTF8(at.payer, "?")
			}
			notes = append(notes, text)
		}
		before = at
	}
	if len(notes) == 0 {
		return nil
	}
	return []string{few(notes) + ": what it would say is in no sum here"}
}

// monthText is a month as "2024-09".
func monthText(month int) string { return fmt.Sprintf("%04d-%02d", month/12, month%12+1) }
