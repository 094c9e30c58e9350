package catalogtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/snapshot"
)

const id = snapshot.ID("snap-00000001")

func one(tags map[string]string) *catalogtest.Memory {
	return catalogtest.New(snapshot.Snapshot{ID: id, Tags: tags})
}

func TestPages(t *testing.T) {
	var all []snapshot.Snapshot
	var want []string
	for i := range 25 {
		s := snapshot.Snapshot{ID: snapshot.ID(fmt.Sprintf("snap-%08x", i)), Tags: map[string]string{"t": "migrate"}}
		if i%5 == 0 {
			s.Tags["t"] = "migrated"
		} else {
			want = append(want, string(s.ID))
		}
		all = append(all, s)
	}
	m := catalogtest.New(all...)
	m.PageSize = 6
	var got []string
	for s, err := range m.Snapshots(t.Context(), catalog.Filter{Tag: "t", Value: "migrate"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(s.ID))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if n := len(m.Calls()); n != 4 {
		t.Errorf("%d requests for 20 snapshots by 6, want 4", n)
	}
}

func TestUnknownSnapshotIsNamed(t *testing.T) {
	m := one(nil)
	m.Remove(id)
	errs := []error{
		m.SetTags(t.Context(), id, map[string]string{"a": "b"}),
		m.DeleteTags(t.Context(), id, map[string]string{"a": "b"}),
	}
	for _, err := range m.Snapshots(t.Context(), catalog.Filter{IDs: []snapshot.ID{id}}) {
		errs = append(errs, err)
	}
	if len(errs) != 3 {
		t.Fatalf("%d answers", len(errs))
	}
	for _, err := range errs {
		if err == nil || !strings.Contains(err.Error(), string(id)) {
			t.Errorf("error %v, want one that names %s", err, id)
		}
	}
}

func TestLimits(t *testing.T) {
	full := map[string]string{"aws:x": "does not count"}
	for i := range catalog.MaxTags {
		full[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name string
		has  map[string]string
		set  map[string]string
		ok   bool
	}{
		{"replace in full", full, map[string]string{"7": "x"}, true},
		{"51st", full, map[string]string{"new": "x"}, false},
		{"longest", nil, map[string]string{strings.Repeat("ä", 127): strings.Repeat("ü", 256)}, true},
		{"key too long", nil, map[string]string{strings.Repeat("a", 128): ""}, false},
		{"value too long", nil, map[string]string{"a": strings.Repeat("a", 257)}, false},
		{"reserved", nil, map[string]string{"aws:a": ""}, false},
		{"no key", nil, map[string]string{"": "a"}, false},
		{"nothing", nil, nil, false},
		{"not UTF-8", nil, map[string]string{"a": "\xff"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := one(c.has)
			before := m.Tags(id)
			if err := m.SetTags(t.Context(), id, c.set); (err == nil) != c.ok {
				t.Errorf("SetTags: %v, want allowed %t", err, c.ok)
			}
			want := before
			if c.ok {
				maps.Copy(want, c.set)
			}
			if diff := cmp.Diff(want, m.Tags(id)); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeleteIsByValue(t *testing.T) {
	m := one(map[string]string{"a": "1", "b": "2", "c": ""})
	if err := m.DeleteTags(t.Context(), id, map[string]string{"a": "1", "b": "other", "none": "", "c": ""}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b": "2"}, m.Tags(id)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

// The two ways to fail: before the effect, and after it.
func TestHooks(t *testing.T) {
	fault := errors.New("gone")
	hook := func(_ context.Context, c catalogtest.Call) error {
		if c.Op == catalogtest.OpCreate {
			return fault
		}
		return nil
	}
	for _, after := range []bool{false, true} {
		m := one(nil)
		want := map[string]string{}
		if after {
			m.After, want["a"] = hook, "b"
		} else {
			m.Before = hook
		}
		if err := m.SetTags(t.Context(), id, map[string]string{"a": "b"}); !errors.Is(err, fault) {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff(want, m.Tags(id)); diff != "" {
			t.Errorf("after %t (-want +got):\n%s", after, diff)
		}
	}
}

func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := one(map[string]string{"a": "old", "b": "old"})
		m.Lag = func(key string) time.Duration {
			return map[string]time.Duration{"a": 3 * time.Second, "b": time.Second}[key]
		}
		read := func() map[string]string {
			for s, err := range m.Snapshots(t.Context(), catalog.Filter{IDs: []snapshot.ID{id}}) {
				if err != nil {
					t.Fatal(err)
				}
				return s.Tags
			}
			return nil
		}
		time.Sleep(time.Hour)
		if err := m.SetTags(t.Context(), id, map[string]string{"a": "new", "c": "new"}); err != nil {
			t.Fatal(err)
		}
		if err := m.DeleteTags(t.Context(), id, map[string]string{"b": "old"}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []map[string]string{
			{"a": "old", "b": "old", "c": "new"}, // at once
			{"a": "old", "c": "new"},             // after 2 s
			{"a": "new", "c": "new"},             // after 4 s
		} {
			if diff := cmp.Diff(want, read()); diff != "" {
				t.Errorf("after the write (-want +got):\n%s", diff)
			}
			time.Sleep(2 * time.Second)
		}
	})
}
