package bill

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"snap-to-s3/internal/hint"
)

// maxSeen is how many lines of snapshots are remembered, at 16 bytes each, where
// several assemblies are read; it bounds memory to a gibibyte.
const maxSeen = 64 << 20

// lines remembers which lines have been counted by which assembly: a table with
// open addressing, since a map of so many would need three times the memory.
// Two lines are taken for one by 56 bits of hash: by chance that is one in
// a billion bills of a million lines.
type lines struct {
	seed  maphash.Seed
	table []uint64 // 56 bits of hash, 8 of the assembly's number; 0 is free
	used  int
}

// first says whether no other assembly had this line. Lines of one assembly are
// never duplicates of each other: AWS bills some twice, with equal fields.
func (s *lines) first(hash uint64, assembly int) (bool, error) {
	if 2*(s.used+1) > len(s.table) {
		if s.used >= maxSeen {
			err := errors.New("too many lines of snapshots to compare several reports")
			return false, hint.Wrap(err, "name one report's manifest or folder, of one month at a time")
		}
		s.grow()
	}
	value := hash&^0xff | uint64(assembly%255+1)
	mask := uint64(len(s.table) - 1)
	for i := hash >> 8 & mask; ; i = (i + 1) & mask {
		switch at := s.table[i]; {
		case at == 0:
			s.table[i] = value
			s.used++
			return true, nil
		case at == value:
			return true, nil
		case at>>8 == value>>8:
			return false, nil
		}
	}
}

func (s *lines) grow() {
	old := s.table
	s.table = make([]uint64, max(1<<12, 2*len(old)))
	mask := uint64(len(s.table) - 1)
	for _, v := range old {
		if v == 0 {
			continue
		}
		i := v >> 8 & mask
		for s.table[i] != 0 {
			i = (i + 1) & mask
		}
		s.table[i] = v
	}
}

// repeated says whether another assembly had this line already. A line is known
// by its id and interval, and by what it is about: AWS promises the id to be
// unique only within one file. FOCUS has no ids; there the amount and cost stand in.
func (l *ledger) repeated(r *row, n *line, src *Source) (bool, error) {
	if !l.several {
		return false, nil
	}
	if err := l.claim(r, n, src); err != nil {
		return false, err
	}
	if l.seen.table == nil {
		l.seen.seed = maphash.MakeSeed()
	}
	b := l.scratch[:0]
	for _, f := range []field{fieldID, fieldResource, fieldUsageType, fieldLineType} {
		b = append(append(b, r[f]...), 0)
	}
	b = fmt.Appendf(b, "%d %d", n.from, n.to)
	if len(r[fieldID]) == 0 {
		b = fmt.Appendf(b, " %d %d", n.amount, n.cost)
	}
	l.scratch = b
	first, err := l.seen.first(maphash.Bytes(l.seen.seed, b), l.assembly)
	return !first, err
}

// claims are which form of report has billed which month of which payer.
type claims map[claim]claimant

type claim struct {
	payer string
	month int // since year 0
}

type claimant struct {
	assembly int
	form     string // format and granularity
	source   string
}

// claim refuses two reports that bill the same month in different forms: their
// lines have nothing in common that could be compared, and all would count twice.
func (l *ledger) claim(r *row, n *line, src *Source) error {
	if n.charge != chargeUsage {
		return nil
	}
	day, span := n.day()
	t := date(day)
	c := claim{string(r[fieldPayer]), t.Year()*12 + int(t.Month())}
	form := src.Format
	switch {
	case span > 1:
		form += ", of months"
	case n.to-n.from < secondsPerDay:
		form += ", of hours"
	default:
		form += ", of days"
	}
	before, ok := l.claims[c]
	if !ok {
		l.claims[c] = claimant{l.assembly, form, src.Name}
		return nil
	}
	if before.assembly == l.assembly || before.form == form {
		return nil
	}
	err := fmt.Errorf("%s (%s) and %s (%s) both bill %s", before.source, before.form, src.Name, form, t.Format("2006-01"))
	if c.payer != "" {
		err = fmt.Errorf("%w of account %s", err, strings.ToValidUTF8(c.payer, "?"))
	}
	return hint.Wrap(err, "give one report of each month: the one of days, where there is a choice")
}
