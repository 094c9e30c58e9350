package workflow_test

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/workflow"
)

// validationCalls are the labels of all calls of a validation that goes well.
func validationCalls(t *testing.T, image string, disk []byte) (seen []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk).migrated()
		w.points.reset()
		w.same()
		seen = slices.Clone(w.points.seen)
	})
	if len(seen) < 20 || !slices.Contains(seen, "volume read of block 4 #1") || !slices.Contains(seen, "store open archive #1") {
		t.Fatalf("calls: %q", seen)
	}
	return seen
}

// beforeClaim are the calls that only look ahead: what fails then is looked up again
// once the snapshot is claimed.
func beforeClaim(t *testing.T, seen []string) []string {
	t.Helper()
	claim := slices.Index(seen, "catalog set tags #1")
	if claim < 5 {
		t.Fatalf("calls: %q", seen)
	}
	return seen[:claim]
}

// failed wants a validation that could not be done to be told from one that found
// something, and nothing to be left. A call that only looks ahead may fail.
func (w *world) failed(r *run, label string, want error, ahead []string) {
	w.t.Helper()
	if errors.Is(r.err, workflow.ErrDifferent) || len(r.report.differences) > 0 {
		w.t.Errorf("%s: %v, %v is said to be a difference: %v", label, r.err, errs(r), r.report.differences)
	}
	if r.err != nil && !errors.Is(r.err, want) && len(r.report.lefts()) == 0 {
		w.t.Errorf("%s: %v, want %v", label, r.err, want)
	}
	read := slices.ContainsFunc([]string{"store ", "wire ", "volume open", "volume read"}, func(p string) bool { return strings.HasPrefix(label, p) })
	if read && (r.err == nil && !slices.Contains(ahead, label) || len(r.report.lefts()) > 0) {
		w.t.Errorf("%s: %v, left %v", label, r.err, r.report.lefts())
	}
	switch {
	case len(r.report.lefts()) > 0:
		w.named(r)
	case r.err == nil, !read && w.cat.Tags(first)[tag] == catalog.Validated: // its last calls are seen through
		w.tagged(catalog.Validated)
	default:
		w.tagged(catalog.Migrated)
	}
}

// Each call of a validation fails once, or is interrupted, going on or hanging:
// that is no difference, and the tag goes back.
func TestValidationFailsAtEveryCall(t *testing.T) {
	image, disk := smallDisk(t)
	seen := validationCalls(t, image, disk)
	ahead := beforeClaim(t, seen)
	for _, label := range seen {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, image, disk).migrated()
				w.points.reset()
				w.points.at(label, failBefore)
				r := w.quickRun().validate(t.Context(), named(first))
				w.points.plan = nil
				w.failed(r, label, errFault, ahead)
			})
			for _, m := range []mode{passes, hangs} {
				if m == hangs && !waits(label) {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 1, image, disk).migrated()
					w.points.reset()
					ctx, cancel := context.WithCancelCause(t.Context())
					w.points.at(label, m)
					w.points.visit = func(l string) {
						if l == label {
							cancel(errInterrupted)
						}
					}
					r := w.quickRun().validate(ctx, named(first))
					w.points.plan, w.points.visit = nil, nil
					w.failed(r, label, errInterrupted, nil)
				})
			}
		})
	}
}

// The same with trees, for what is in the way of their reading.
func TestValidationOfTreesFailsAtEveryCall(t *testing.T) {
	d := newTreeDisk(t)
	w := d.world(t).migrated(withTrees)
	w.points.reset()
	w.same(withTrees)
	seen := slices.DeleteFunc(slices.Clone(w.points.seen), func(l string) bool {
		return strings.HasPrefix(l, "volume read") && l != "volume read of block 0 #1" && l != "volume read of block 19 #1"
	})
	ahead := beforeClaim(t, seen)
	for _, label := range []string{"volume mark mounted #1", "store open archive #3", "store open entries #3", "volume release #1"} {
		if !slices.Contains(seen, label) {
			t.Fatalf("the call %q was not made, but %q", label, seen)
		}
	}
	for _, label := range seen {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			w := d.world(t).migrated(withTrees)
			w.points.reset()
			w.points.at(label, failBefore)
			r := w.quickRun(withTrees).validate(t.Context(), named(first))
			w.points.plan = nil
			w.failed(r, label, errFault, ahead)
		})
	}
}

// torn is a store whose bodies break off for good at a byte of one object, as a
// network that is gone, or end there without a word.
type torn struct {
	*objstore.Memory
	key  string
	at   int64
	with error
	hit  func()
}

func (s torn) Open(ctx context.Context, key string, g objstore.Range) (io.ReadCloser, error) {
	body, err := s.Memory.Open(ctx, key, g)
	if err != nil || key != s.key {
		return body, err
	}
	return &tornBody{body, max(s.at-g.Off, 0), s.with, s.hit}, nil
}

type tornBody struct {
	io.ReadCloser
	left int64
	with error
	hit  func()
}

func (b *tornBody) Read(p []byte) (int, error) {
	if b.left == 0 && b.hit != nil {
		b.hit()
		b.hit, b.left = nil, math.MaxInt64
	}
	if b.left == 0 {
		return 0, b.with
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func TestStoreThatBreaksOffIsNoDifference(t *testing.T) {
	image, disk := smallDisk(t)
	for name, with := range map[string]error{"with an error": errFault, "short": io.EOF} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, image, disk).migrated()
				for _, key := range w.store.Keys() {
					n := int64(len(w.object(key)))
					for _, at := range []int64{0, 1, n / 2, n - 1} {
						s := torn{w.store, key, at, with, nil}
						v := verifyThese(t, s, workflow.VerifySubject{IDs: named(first).IDs})
						record := strings.HasSuffix(key, ".json")
						if record && with == io.EOF { // a record is read as it comes: it is whole or it is not
							if !errors.Is(v.err, workflow.ErrDifferent) {
								t.Errorf("verify, %s at byte %d: %v", key, at, v)
							}
							continue
						}
						if v.err == nil || errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed != 1 {
							t.Errorf("verify, %s at byte %d: %v", key, at, v)
						}
						r := w.quickRun(func(m *workflow.Migrator) { m.Store = s }).validate(t.Context(), named(first))
						if r.err == nil || errors.Is(r.err, workflow.ErrDifferent) || len(r.report.differences) > 0 {
							t.Errorf("validate, %s at byte %d: %v, %v", key, at, errs(r), r.report.differences)
						}
						w.tagged(catalog.Migrated)
					}
				}
			})
		})
	}
}

// A gpg that dies says nothing of what it was to decrypt; nor does one that cannot
// open what it is given.
func TestGPGThatFailsIsNoDifference(t *testing.T) {
	k := newDamageKeys(t)
	path, disk := noiseDisk(t, 5<<20)
	w := newWorld(t, 1, path, disk).migrated(k.sealing)
	leakFree(t)
	for _, key := range w.store.Keys() {
		if !strings.HasSuffix(key, ".gpg") {
			continue
		}
		whole := w.object(key)
		for name, run := range map[string]func(s objstore.Store) (int, error){
			"verify": func(s objstore.Store) (int, error) {
				v := verifyThese(t, s, workflow.VerifySubject{IDs: named(first).IDs}, k.verifying)
				return len(v.differences), v.err
			},
			"validate": func(s objstore.Store) (int, error) {
				r := w.quickRun(k.opening, func(m *workflow.Migrator) { m.Store = s }).validate(t.Context(), named(first))
				w.tagged(catalog.Migrated)
				return len(r.report.differences), r.err
			},
		} {
			killed := killing{Memory: w.store, key: key, t: t, whole: int64(len(whole))}
			if n, err := run(&killed); err == nil || errors.Is(err, workflow.ErrDifferent) || n > 0 || killed.dead.Load() == 0 {
				t.Errorf("%s, gpg killed at %s: %v, %d differences, %d killed", name, key, err, n, killed.dead.Load())
			}
		}
	}
	other := newDamageKeys(t)
	v := verifyThese(t, w.store, workflow.VerifySubject{IDs: named(first).IDs}, other.verifying)
	if v.err == nil || errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed != 1 {
		t.Errorf("without the key: %v", v)
	}
	none := verifyThese(t, w.store, workflow.VerifySubject{IDs: named(first).IDs}, func(v *workflow.Verifier) { v.NoGPG = errFault })
	if !errors.Is(none.err, errFault) || errors.Is(none.err, workflow.ErrDifferent) {
		t.Errorf("without gpg: %v", none)
	}
}

// killing kills the programs that this process runs once an object is asked for from
// its beginning to its end.
type killing struct {
	*objstore.Memory
	key   string
	t     *testing.T
	whole int64
	dead  atomic.Int64
}

func (s *killing) Open(ctx context.Context, key string, g objstore.Range) (io.ReadCloser, error) {
	body, err := s.Memory.Open(ctx, key, g)
	if err != nil || key != s.key || g.ETag == "" {
		return body, err
	}
	return &tornBody{body, s.whole / 2, nil, func() { s.dead.Add(killChildren(s.t)) }}, nil
}

// killChildren kills the programs that this process runs.
func killChildren(t *testing.T) (n int64) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("this kernel does not list children in /proc")
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil { // the thread may be gone
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				n++
			}
		}
	}
	return n
}
