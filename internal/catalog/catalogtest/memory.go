// Package catalogtest holds a catalog in memory for tests. It is as strict as
// EC2 where that matters to a claim: limits of tags, deletion by value, unknown
// ids, readings that lag behind. It is not a sandbox: it knows no volumes, no
// rights and no wire.
package catalogtest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/snapshot"
)

// The operations a Call names.
const (
	OpDescribe = "DescribeSnapshots" // one a page
	OpCreate   = "CreateTags"
	OpDelete   = "DeleteTags"
)

// Call is one request to the catalog.
type Call struct {
	Op   string
	ID   snapshot.ID       // of a write; of a read only when one id was asked for
	Tags map[string]string // of a write
}

// Hook is called with each request and can make it fail, or wait, for which it
// must heed ctx.
type Hook func(ctx context.Context, c Call) error

// Memory is a catalog.Catalog in memory. It is safe for concurrent use. The
// exported fields are set before its first use.
type Memory struct {
	PageSize int // snapshots a page; 0: 1000, EC2's most
	// Lag tells how old a reading of a tag is; nil: current. EC2 does not promise
	// that the tags of one write show at once, so each has its own.
	Lag    func(key string) time.Duration
	Before Hook // its error: the request failed, nothing was done
	After  Hook // its error: the request was done, the answer lost

	mu    sync.Mutex
	order []snapshot.ID
	items map[snapshot.ID]*item
	calls []Call
}

type item struct {
	snapshot snapshot.Snapshot
	history  []version // ascending in time; the last is current
}

type version struct {
	at   time.Time
	tags map[string]string
}

var _ catalog.Catalog = (*Memory)(nil)

// New returns a catalog of these snapshots, in this order.
func New(snapshots ...snapshot.Snapshot) *Memory {
	m := &Memory{items: map[snapshot.ID]*item{}}
	for _, s := range snapshots {
		m.order = append(m.order, s.ID)
		m.items[s.ID] = &item{snapshot: s, history: []version{{tags: copied(s.Tags)}}}
	}
	return m
}

// Tags returns the tags a snapshot has now, whatever the lag of readings.
func (m *Memory) Tags(id snapshot.ID) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.items[id]
	if !ok {
		return nil
	}
	return copied(it.current())
}

// Calls returns all requests so far.
func (m *Memory) Calls() []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// Remove deletes a snapshot, as its owner could at any time.
func (m *Memory) Remove(id snapshot.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.items, id)
	m.order = slices.DeleteFunc(m.order, func(other snapshot.ID) bool { return other == id })
}

// Snapshots is catalog.Catalog's.
func (m *Memory) Snapshots(ctx context.Context, f catalog.Filter) iter.Seq2[snapshot.Snapshot, error] {
	return func(yield func(snapshot.Snapshot, error) bool) {
		for from, more := 0, true; more; {
			var page []snapshot.Snapshot
			err := m.do(ctx, Call{Op: OpDescribe, ID: only(f.IDs)}, func() (err error) {
				page, from, more, err = m.page(f, from)
				return err
			})
			if err != nil {
				yield(snapshot.Snapshot{}, err)
				return
			}
			for _, s := range page {
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}

// SetTags is catalog.Catalog's.
func (m *Memory) SetTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	return m.do(ctx, Call{Op: OpCreate, ID: id, Tags: copied(tags)}, func() error {
		return m.change(id, tags, func(now map[string]string) error {
			maps.Copy(now, tags)
			n := 0
			for key := range now {
				if !strings.HasPrefix(key, "aws:") {
					n++
				}
			}
			if n > catalog.MaxTags {
				return fmt.Errorf("TagLimitExceeded: %s would have %d tags", id, n)
			}
			return nil
		})
	})
}

// DeleteTags is catalog.Catalog's.
func (m *Memory) DeleteTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	return m.do(ctx, Call{Op: OpDelete, ID: id, Tags: copied(tags)}, func() error {
		return m.change(id, tags, func(now map[string]string) error {
			maps.DeleteFunc(now, func(key, value string) bool {
				want, ok := tags[key]
				return ok && want == value
			})
			return nil
		})
	})
}

// do runs one request between the hooks. The hooks run without the lock.
func (m *Memory) do(ctx context.Context, c Call, run func() error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", c.Op, context.Cause(ctx))
	}
	m.mu.Lock()
	m.calls = append(m.calls, c)
	m.mu.Unlock()
	if m.Before != nil {
		if err := m.Before(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.Op, err)
		}
	}
	m.mu.Lock()
	err := run()
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", c.Op, err)
	}
	if m.After != nil {
		if err := m.After(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.Op, err)
		}
	}
	return nil
}

func (m *Memory) page(f catalog.Filter, from int) (page []snapshot.Snapshot, next int, more bool, err error) {
	if len(f.IDs) > 0 { // EC2 does not page a list of ids
		for _, id := range f.IDs {
			it, ok := m.items[id]
			if !ok {
				return nil, 0, false, fmt.Errorf("InvalidSnapshot.NotFound: %w", &catalog.UnknownError{Snapshot: id, Region: "memory"})
			}
			page = append(page, m.seen(it))
		}
		return page, 0, false, nil
	}
	size := m.PageSize
	if size == 0 {
		size = 1000
	}
	for ; from < len(m.order) && len(page) < size; from++ {
		s := m.seen(m.items[m.order[from]])
		if chooses(f, s.Tags) {
			page = append(page, s)
		}
	}
	return page, from, from < len(m.order), nil
}

// anyWork is the Filter.Value of InWork. No tag has it: EC2 refuses control bytes.
const anyWork = "\x00"

func chooses(f catalog.Filter, tags map[string]string) bool {
	if f.Value != anyWork {
		v, ok := tags[f.Tag]
		return ok && v == f.Value
	}
	st := catalog.StateOf(tags, f.Tag)
	return st.InProgress() || st.Owned
}

// InWork is catalog.WorkLister's.
func (m *Memory) InWork(ctx context.Context, tag string) iter.Seq2[snapshot.Snapshot, error] {
	return m.Snapshots(ctx, catalog.Filter{Tag: tag, Value: anyWork})
}

func (m *Memory) change(id snapshot.ID, tags map[string]string, apply func(now map[string]string) error) error {
	it, ok := m.items[id]
	if !ok {
		return fmt.Errorf("InvalidSnapshot.NotFound: %s", id)
	}
	if len(tags) == 0 {
		return fmt.Errorf("MissingParameter: no tags for %s", id)
	}
	for key, value := range tags {
		if err := checkTag(key, value); err != nil {
			return err
		}
	}
	now := copied(it.current())
	if err := apply(now); err != nil {
		return err
	}
	it.history = append(it.history, version{time.Now(), now})
	return nil
}

func checkTag(key, value string) error {
	switch {
	case key == "" || utf8.RuneCountInString(key) > catalog.MaxKey:
		return fmt.Errorf("InvalidParameterValue: a key of %d characters", utf8.RuneCountInString(key))
	case strings.HasPrefix(key, "aws:"):
		return fmt.Errorf("InvalidParameterValue: %s: keys of aws: are reserved", key)
	case utf8.RuneCountInString(value) > catalog.MaxValue:
		return fmt.Errorf("InvalidParameterValue: %s: a value of %d characters", key, utf8.RuneCountInString(value))
	case !utf8.ValidString(key) || !utf8.ValidString(value):
		return fmt.Errorf("InvalidParameterValue: %q is not UTF-8", key)
	}
	return nil
}

func (it *item) current() map[string]string { return it.history[len(it.history)-1].tags }

// seen is the snapshot as a reading now shows it.
func (m *Memory) seen(it *item) snapshot.Snapshot {
	s := it.snapshot
	if m.Lag == nil {
		s.Tags = copied(it.current())
		return s
	}
	keys := map[string]bool{}
	for _, v := range it.history {
		for key := range v.tags {
			keys[key] = true
		}
	}
	s.Tags = map[string]string{}
	now := time.Now()
	for key := range keys {
		at, i := now.Add(-m.Lag(key)), len(it.history)-1
		for i > 0 && it.history[i].at.After(at) {
			i--
		}
		if value, ok := it.history[i].tags[key]; ok {
			s.Tags[key] = value
		}
	}
	return s
}

func only(ids []snapshot.ID) snapshot.ID {
	if len(ids) == 1 {
		return ids[0]
	}
	return ""
}

func copied(tags map[string]string) map[string]string {
	c := make(map[string]string, len(tags))
	maps.Copy(c, tags)
	return c
}
