package workflow_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// rot is a store that gives one bit of one object as it was not written, and says
// nothing of it: what a HEAD tells stays as it was.
type rot struct {
	*objstore.Memory
	key string
	bit int64
}

func (r rot) Open(ctx context.Context, key string, g objstore.Range) (io.ReadCloser, error) {
	body, err := r.Memory.Open(ctx, key, g)
	if err != nil || key != r.key {
		return body, err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if at := r.bit/8 - g.Off; at >= 0 && at < int64(len(data)) {
		data = slices.Clone(data)
		data[at] ^= 1 << (r.bit % 8)
	}
	return io.NopCloser(strings.NewReader(string(data))), nil
}

func (r *run) validate(ctx context.Context, sub workflow.Subject) *run {
	r.w.t.Helper()
	r.sum, r.err = r.Validate(ctx, sub)
	if err := r.State.Close(); err != nil {
		r.w.t.Error(err)
	}
	return r
}

// quickRun is a run that does not wait for EC2's tags to settle.
func (w *world) quickRun(change ...func(*workflow.Migrator)) *run {
	return w.newRun(append(change, func(m *workflow.Migrator) { m.Protocol.Settle = time.Millisecond })...)
}

func andValidate(m *workflow.Migrator) { m.AndValidate = true }

func TestValidate(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 2, path, disk)
	if r := w.quickRun().do(t.Context(), all()); r.err != nil {
		t.Fatal(r.err)
	}
	r := w.quickRun().validate(t.Context(), all())
	if r.err != nil || r.sum.Validated != 2 || len(r.sum.Proven) != 2 || len(r.report.differences) != 0 {
		t.Fatalf("validation of what was just migrated: %v, %+v, %v", r.err, r.sum, r.report.differences)
	}
	for _, id := range []snapshot.ID{first, "snap-00000002"} {
		if got := w.cat.Tags(id)[tag]; got != catalog.Validated {
			t.Errorf("%s is tagged %q", id, got)
		}
	}
	w.empty()
	again := w.quickRun().validate(t.Context(), all())
	if !errors.Is(again.err, workflow.ErrNothing) {
		t.Errorf("a second validation: %v, want nothing to do", again.err)
	}
}

func TestMigrateAndValidate(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk)
	r := w.quickRun(andValidate).do(t.Context(), all())
	if r.err != nil || r.sum.Validated != 1 {
		t.Fatalf("%v, %+v", r.err, r.sum)
	}
	if got := w.cat.Tags(first)[tag]; got != catalog.Validated {
		t.Errorf("tagged %q", got)
	}
	w.empty()
}

// What differs in the volume is named by its place, and the snapshot goes back to
// "migrated", also where it was "validated" before.
func TestValidateFindsTheBlock(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk)
	if r := w.quickRun(andValidate).do(t.Context(), all()); r.err != nil {
		t.Fatal(r.err)
	}
	other := slices.Clone(disk)
	other[2<<20+700_000] ^= 1
	other[4<<20-1] ^= 1 // in a block of zeros
	if err := os.WriteFile(path, other, 0o600); err != nil {
		t.Fatal(err)
	}
	id := first
	r := w.quickRun().validate(t.Context(), workflow.Subject{IDs: []snapshot.ID{id}})
	if !errors.Is(r.err, workflow.ErrDifferent) || r.sum.Failed != 1 {
		t.Fatalf("%v, %+v", r.err, r.sum)
	}
	var got [][2]int64
	for _, d := range r.report.differences {
		if d.Kind != "content" || d.Between != workflow.BetweenSnapshot || d.Snapshot != id {
			t.Errorf("difference %v", d)
		}
		got = append(got, [2]int64{d.Off, d.Len})
	}
	if want := [][2]int64{{2<<20 + 512<<10, 512 << 10}, {4<<20 - 512<<10, 512 << 10}}; !slices.Equal(got, want) {
		t.Errorf("differences at %v, want %v", got, want)
	}
	if got := w.cat.Tags(first)[tag]; got != catalog.Migrated {
		t.Errorf("tagged %q", got)
	}
	w.empty()
}

// A bit that is flipped anywhere in the archive, its entries or a record is found,
// by a validation and by a verification alike.
func TestFlippedBitsAreFound(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk)
	if r := w.quickRun().do(t.Context(), all()); r.err != nil {
		t.Fatal(r.err)
	}
	id := first
	rng := rand.New(rand.NewPCG(1, 2))
	for _, key := range w.store.Keys() {
		info, err := w.store.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for range 25 {
			damaged := rot{w.store, key, rng.Int64N(info.Size * 8)}
			if n, err := verify(t, damaged, workflow.VerifySubject{IDs: []snapshot.ID{id}}); !errors.Is(err, workflow.ErrDifferent) || n == 0 {
				t.Errorf("bit %d of %s: verify says %v, %d differences", damaged.bit, key, err, n)
			}
			if strings.HasPrefix(key, layout.Manifests) && rng.IntN(8) > 0 {
				continue // a validation takes its time
			}
			r := w.quickRun(func(m *workflow.Migrator) { m.Store = damaged }).validate(t.Context(), workflow.Subject{IDs: []snapshot.ID{id}})
			if !errors.Is(r.err, workflow.ErrDifferent) || len(r.report.differences) == 0 {
				t.Errorf("bit %d of %s: validate says %v", damaged.bit, key, r.err)
			}
		}
	}
	if n, err := verify(t, w.store, workflow.VerifySubject{All: true}); err != nil || n != 0 {
		t.Errorf("without damage: %v, %d differences", err, n)
	}
	w.empty()
}

// verdicts keeps what a verification tells.
type verdicts struct {
	differences []workflow.Difference
	verified    []workflow.ArchiveVerdict
	notes       []string
}

func (v *verdicts) Start(string, int64) workflow.Task  { return noTask{} }
func (v *verdicts) Difference(d workflow.Difference)   { v.differences = append(v.differences, d) }
func (v *verdicts) Verified(a workflow.ArchiveVerdict) { v.verified = append(v.verified, a) }
func (v *verdicts) Note(text string)                   { v.notes = append(v.notes, text) }

type noTask struct{}

func (noTask) Stage(string)        {}
func (noTask) Total(int64)         {}
func (noTask) Add(int64)           {}
func (noTask) Files(int64, string) {}
func (noTask) Done()               {}

func verify(t *testing.T, s objstore.Store, sub workflow.VerifySubject) (differences int, err error) {
	t.Helper()
	told := &verdicts{}
	v := &workflow.Verifier{Store: s, Bucket: bucket, Report: told, Log: slog.New(slog.DiscardHandler), Depth: workflow.Whole}
	_, err = v.Verify(t.Context(), sub)
	return len(told.differences), err
}
