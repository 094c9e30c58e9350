package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// mode is what becomes of a call.
type mode int

const (
	passes     mode = iota
	failBefore      // it is not carried out
	failAfter       // it is carried out, and its answer is an error
	hangs           // it is not carried out, and ends with its context or much later
)

var errFault = errors.New("broken on order")

// longest is how long a call hangs that nobody ends.
const longest = 2 * time.Hour

// points are the calls of a run, each with a label of its own: what it is and
// how many of the kind came so far.
type points struct {
	mu    sync.Mutex
	count map[string]int
	seen  []string
	plan  func(label string) mode
	visit func(label string) // called at each, before anything else
}

func newPoints() *points { return &points{count: map[string]int{}} }

func (p *points) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count, p.seen, p.plan, p.visit = map[string]int{}, nil, nil, nil
}

// at makes one call end in a mode, and all others pass.
func (p *points) at(label string, m mode) {
	p.plan = func(l string) mode {
		if l == label {
			return m
		}
		return passes
	}
}

// reach counts a call and decides what becomes of it. plan runs under the lock.
func (p *points) reach(name string) (string, mode) {
	p.mu.Lock()
	p.count[name]++
	label := fmt.Sprintf("%s #%d", name, p.count[name])
	p.seen = append(p.seen, label)
	visit := p.visit
	p.mu.Unlock()
	if visit != nil {
		visit(label)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan == nil {
		return label, passes
	}
	return label, p.plan(label)
}

func (p *points) do(ctx context.Context, name string, effect func() error) error {
	label, m := p.reach(name)
	switch m {
	case failBefore:
		return fmt.Errorf("%s: %w", label, errFault)
	case hangs:
		// A silent connection is given up some time.
		given := time.NewTimer(longest)
		defer given.Stop()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", label, context.Cause(ctx))
		case <-given.C:
			return fmt.Errorf("%s: no byte moved: %w", label, errFault)
		}
	}
	err := effect()
	if err == nil && m == failAfter {
		return fmt.Errorf("%s, though it was carried out: %w", label, errFault)
	}
	return err
}

// changes tells whether a call has an effect that can outlast a lost answer.
func changes(label string) bool {
	for _, reading := range []string{"catalog list", "store stat", "store open", "store create", "volume read", "volume open", "wire"} {
		if strings.HasPrefix(label, reading) {
			return false
		}
	}
	return true
}

// waits tells whether a call has a context that can end it.
func waits(label string) bool { return !strings.HasPrefix(label, "wire") }

type faultyCatalog struct {
	catalog.Catalog
	points *points
}

func (c *faultyCatalog) Snapshots(ctx context.Context, f catalog.Filter) iter.Seq2[snapshot.Snapshot, error] {
	return func(yield func(snapshot.Snapshot, error) bool) {
		err := c.points.do(ctx, "catalog list", func() error { return nil })
		if err != nil {
			yield(snapshot.Snapshot{}, err)
			return
		}
		c.Catalog.Snapshots(ctx, f)(yield)
	}
}

func (c *faultyCatalog) SetTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	return c.points.do(ctx, "catalog set tags", func() error { return c.Catalog.SetTags(ctx, id, tags) })
}

func (c *faultyCatalog) DeleteTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	return c.points.do(ctx, "catalog delete tags", func() error { return c.Catalog.DeleteTags(ctx, id, tags) })
}

type faultyStore struct {
	objstore.Store
	points *points
}

func (s *faultyStore) Stat(ctx context.Context, key string) (info objstore.Info, err error) {
	err = s.points.do(ctx, "store stat "+role(key), func() (err error) {
		info, err = s.Store.Stat(ctx, key)
		return err
	})
	return info, err
}

func (s *faultyStore) Open(ctx context.Context, key string, part objstore.Range) (r io.ReadCloser, err error) {
	err = s.points.do(ctx, "store open "+role(key), func() (err error) {
		r, err = s.Store.Open(ctx, key, part)
		return err
	})
	return r, err
}

func (s *faultyStore) Create(ctx context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	w := &faultyWriter{points: s.points, role: role(key), created: func() context.Context { return ctx }}
	started := o.Started
	o.Started = func(id string) {
		w.upload.Store(&id)
		if started != nil {
			started(id)
		}
	}
	err := s.points.do(ctx, "store create "+w.role, func() (err error) {
		w.Writer, err = s.Store.Create(ctx, key, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

type faultyWriter struct {
	objstore.Writer
	points  *points
	role    string
	created func() context.Context // Create's context is what ends a Write that hangs
	upload  atomic.Pointer[string] // its id, once there is one
	over    bool
}

func (w *faultyWriter) Write(p []byte) (n int, err error) {
	err = w.points.do(w.created(), "store write "+w.role, func() (err error) {
		n, err = w.Writer.Write(p)
		return err
	})
	if err != nil {
		n = 0
	}
	return n, err
}

func (w *faultyWriter) Commit(ctx context.Context) (info objstore.Info, err error) {
	err = w.points.do(ctx, "store commit "+w.role, func() (err error) {
		info, err = w.Writer.Commit(ctx)
		w.over = err == nil
		return err
	})
	return info, err
}

// Abort asks the store only where there is an upload to be taken back.
func (w *faultyWriter) Abort(ctx context.Context) error {
	id := w.upload.Load()
	if id == nil || w.over {
		return w.Writer.Abort(ctx)
	}
	err := w.points.do(ctx, "store abort "+w.role, func() error { return w.Writer.Abort(ctx) })
	if err == nil {
		w.over = true
		return nil
	}
	return &objstore.LeftBehindError{
		Thing: "multipart upload " + *id, Command: "aws s3api abort-multipart-upload --upload-id " + *id, Err: err,
	}
}
