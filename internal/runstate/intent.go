package runstate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// The kinds of things a run leaves when it dies.
const (
	KindVolume     = "volume"
	KindAttachment = "attachment"
	KindUpload     = "upload"
	KindClaim      = "claim"
	KindLoop       = "loop"  // a loop device that does not clear itself
	KindMount      = "mount" // in the mount table
)

// Entry is a thing that a run may have left.
type Entry struct {
	Kind    string
	Fields  map[string]string
	Reason  string // why it stays; "" where the run did not get to say
	Command string // what takes it away
}

// Intent is a thing that a run is about to create, or has created. It is safe
// for concurrent use.
type Intent struct {
	file *File
	n    int64
}

// Intend records what the run is about to create: by its fields it must be
// possible to find the thing, and to tell that it is this run's, should the run
// die in the very call that creates it. When it returns the record is on disk; on
// an error the thing must not be created.
func (f *File) Intend(kind string, fields map[string]string) (*Intent, error) {
	if kind == "" {
		return nil, errors.New("write the state file: an intent without a kind")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := &Intent{file: f, n: f.next + 1}
	r := record{Op: opIntend, N: i.n, Kind: kind, Fields: maps.Clone(fields)}
	if err := f.write(r); err != nil {
		return nil, err
	}
	f.next++
	return i, f.log.apply(r)
}

// Update adds to the fields what became known, for example the id that the
// service gave; those it does not name stay.
func (i *Intent) Update(fields map[string]string) error {
	return i.change(record{Op: opUpdate, N: i.n, Fields: maps.Clone(fields)})
}

// Done tells that the thing is gone, or is now meant to be there for good: it is
// no longer listed.
func (i *Intent) Done() error {
	return i.change(record{Op: opDone, N: i.n})
}

// Stay tells that the thing could not be taken away, or was to be kept: it stays
// listed, with the reason and the command that removes it.
func (i *Intent) Stay(reason, command string) error {
	return i.change(record{Op: opStay, N: i.n, Reason: reason, Command: command})
}

// change takes effect in this process even if it cannot be written: what happened
// to the thing has happened.
func (i *Intent) change(r record) error {
	i.file.mu.Lock()
	defer i.file.mu.Unlock()
	if err := i.file.log.apply(r); err != nil {
		return fmt.Errorf("write the state file %s: %w", i.file.path, err)
	}
	return i.file.write(r)
}

// entries are the things not done, by number.
type entries map[int64]*Entry

// apply is what a record means, for the run that writes it and for readers alike.
func (e entries) apply(r record) error {
	if r.Op == opIntend {
		if r.N <= 0 || r.Kind == "" || e[r.N] != nil {
			return fmt.Errorf("intent %d of kind %q is not a new one", r.N, r.Kind)
		}
		fields := maps.Clone(r.Fields)
		if fields == nil {
			fields = map[string]string{}
		}
		e[r.N] = &Entry{Kind: r.Kind, Fields: fields}
		return nil
	}
	entry := e[r.N]
	if entry == nil {
		return fmt.Errorf("%s of %d, which is not open", r.Op, r.N)
	}
	switch r.Op {
	case opUpdate:
		maps.Copy(entry.Fields, r.Fields)
	case opStay:
		entry.Reason, entry.Command = r.Reason, r.Command
	case opDone:
		delete(e, r.N)
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

// list copies the entries, in the order they were intended.
func (e entries) list() []Entry {
	var all []Entry
	for _, n := range e.numbers() {
		all = append(all, e[n].copied())
	}
	return all
}

func (e entries) numbers() []int64 { return slices.SortedFunc(maps.Keys(e), cmp.Compare[int64]) }

func (e *Entry) copied() Entry {
	c := *e
	c.Fields = maps.Clone(c.Fields)
	return c
}
