package bill

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
)

const (
	maxMarks = 16 << 20 // 60 bytes of memory each, at most: together a gibibyte
	maxForms = 1 << 16
)

// repeats finds that two files tell of the same storage: they are then no parts of
// one delivery, and all in them would count twice. Nothing in a line says which
// delivery it is of: ids are others in each
// (https://docs.aws.amazon.com/cur/latest/userguide/identity-columns.html). What is
// remembered is which days of a month each file has of each snapshot.
type repeats struct {
	forms map[form]uint32
	heads map[stretch]uint32 // the last mark of each, and one more
	marks []mark
}

// form is what lines have in common that differ in snapshot and day only. The
// month of the bill is in it since one may have lines of months before.
type form struct {
	period, month int   // of the bill, and of the line
	at, length    int64 // where in its day a line begins, and how long it is, in seconds
}

// stretch is the lines of one form of one snapshot in one tier.
type stretch struct{ entry, form uint32 }

// mark is what one file has of a stretch.
type mark struct {
	days   uint32 // of the month, a bit each
	file   uint32 // in ledger.sources
	before uint32 // the mark of another file, and one more; 0: none
}

// once refuses a line of storage that a file of another delivery has as well. Within
// one delivery lines are never taken for each other: AWS bills some twice, with
// equal fields. Only a manifest says that files are of one.
func (l *ledger) once(at uint32, k key, r *row, n *line, src *Source) error {
	if !l.several || n.charge != chargeUsage || !n.storage.stores() || string(r[fieldClass]) == correction {
		return nil
	}
	if err := l.claim(r, n, src); err != nil {
		return err
	}
	day := int32(n.from / secondsPerDay)
	m := monthOf(day)
	f := form{n.period, m, n.from % secondsPerDay, n.to - n.from}
	number, ok := l.repeats.forms[f]
	if !ok {
		if len(l.repeats.forms) >= maxForms {
			return hint.Wrap(errors.New("lines are about too many different times of the day"), "use the files as AWS wrote them")
		}
		number = uint32(len(l.repeats.forms))
		l.repeats.forms[f] = number
	}
	file, bit := uint32(len(l.sources)), uint32(1)<<(day-firstOf(m))
	s := stretch{at, number}
	head, own := l.repeats.heads[s], -1
	for i := head; i > 0; i = l.repeats.marks[i-1].before {
		switch other := &l.repeats.marks[i-1]; {
		case other.file == file:
			own = int(i - 1)
		case other.days&bit != 0 && l.assemblies[other.file] != l.assembly:
			err := fmt.Errorf("%s bills %s of %s on %s, too", l.sources[other.file].Name, k.id.id(), l.places[k.place].name(), onDay(day))
			return hint.Wrap(err, "these are two deliveries of one month, or two reports of it: give the newest alone, or its manifest")
		}
	}
	if own >= 0 {
		l.repeats.marks[own].days |= bit
		return nil
	}
	if len(l.repeats.marks) >= maxMarks {
		return hint.Wrap(errors.New("too many snapshots to compare several files"), "name the manifest of one report, of fewer months at a time")
	}
	l.repeats.marks = append(l.repeats.marks, mark{bit, file, head})
	l.repeats.heads[s] = uint32(len(l.repeats.marks))
	return nil
}

// claims are at which granularity each month of each payer is billed.
type claims map[claim]claimant

type claim struct {
	payer  string
	period int
}

type claimant struct {
	assembly    int
	granularity string
	source      string
}

// claim refuses two reports that bill the same month at different granularity: no
// line of one has the interval of a line of the other, and all would count twice.
func (l *ledger) claim(r *row, n *line, src *Source) error {
	granularity := "days"
	switch length := n.to - n.from; {
	case length > secondsPerDay:
		granularity = "months"
	case length < secondsPerDay:
		granularity = "hours"
	}
	payer := r[fieldPayer]
	c := claim{string(payer[:min(maxAccount, len(payer))]), n.period}
	before, ok := l.claims[c]
	if !ok {
		l.claims[c] = claimant{l.assembly, granularity, src.Name}
		return nil
	}
	if before.assembly == l.assembly || before.granularity == granularity {
		return nil
	}
	err := fmt.Errorf("%s (of %s) and %s (of %s) both bill %s", before.source, before.granularity, src.Name, granularity, monthText(n.period))
	if c.payer != "" {
		err = fmt.Errorf("%w of account %s", err, strings.ToValidUTF8(c.payer, "?"))
	}
	return hint.Wrap(err, "give one report of each month: the one of days, where there is a choice")
}

// readOnce keeps the last of inputs that are given more than once, which a
// manifest may tell more of, and names them.
func readOnce(parts []part) (kept []part, names []string) {
	last := make(map[string]int, len(parts))
	for i, p := range parts {
		last[p.Name] = i
	}
	for i, p := range parts {
		switch {
		case p.endless || last[p.Name] == i:
			kept = append(kept, p)
		case !slices.Contains(names, p.Name):
			names = append(names, p.Name)
		}
	}
	return kept, names
}
