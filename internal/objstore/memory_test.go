package objstore_test

import (
	"errors"
	"io"
	"testing"

	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/objstore/objstoretest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(*testing.T) objstoretest.Fixture {
		m := objstore.NewMemory(objstore.MemoryOptions{Limits: objstore.Limits{MinPart: 1 << 10, Floor: 1 << 10}})
		return objstoretest.Fixture{
			Store: m, PartSize: 1 << 10, Many: 1000,
			Conditions: true, CRC: true, Cold: true,
			Classes: []string{"STANDARD_IA", "GLACIER_IR", "DEEP_ARCHIVE"},
			Tags:    func(_ *testing.T, key string) []objstore.Tag { return m.Tags(key) },
			Uploads: func(*testing.T) int { return m.Uploads() },
		}
	})
}

func TestMemoryThaw(t *testing.T) {
	t.Parallel()
	m := objstore.NewMemory(objstore.MemoryOptions{})
	w, err := m.Create(t.Context(), "k", objstore.CreateOptions{StorageClass: "DEEP_ARCHIVE"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("cold")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Thaw("k"); err != nil {
		t.Fatal(err)
	}
	r, err := m.Open(t.Context(), "k", objstore.Range{Off: 1})
	if err != nil {
		t.Fatalf("open of a thawed object: %v", err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "old" {
		t.Errorf("read %q, %v; want %q", got, err, "old")
	}
	if err := m.Thaw("missing"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("thaw of a missing object: %v, want ErrNotExist", err)
	}
}

// Each operation that fails must surface, and leave no upload and no object.
func TestMemoryFaults(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		op      string
		size    int
		visible bool
	}{{"put", 10, false}, {"begin", 5000, false}, {"part", 5000, false}, {"complete", 5000, false}} {
		t.Run(c.op, func(t *testing.T) {
			t.Parallel()
			m := objstore.NewMemory(objstore.MemoryOptions{
				Limits: objstore.Limits{MinPart: 1 << 10, Floor: 1 << 10},
				Fault: func(op, _ string) error {
					if op == c.op {
						return broken
					}
					return nil
				},
			})
			w, err := m.Create(t.Context(), "k", objstore.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, writeErr := w.Write(make([]byte, c.size))
			_, err = w.Commit(t.Context())
			if !errors.Is(err, broken) || (writeErr != nil && !errors.Is(writeErr, broken)) {
				t.Errorf("write: %v, commit: %v; want the fault", writeErr, err)
			}
			if _, err := w.Commit(t.Context()); !errors.Is(err, objstore.ErrDone) && !errors.Is(err, broken) {
				t.Errorf("second commit: %v", err)
			}
			if err := w.Abort(t.Context()); err != nil {
				t.Errorf("abort after a failed commit: %v", err)
			}
			if m.Uploads() != 0 || len(m.Keys()) != 0 {
				t.Errorf("left behind: %d uploads, objects %v", m.Uploads(), m.Keys())
			}
		})
	}
}
