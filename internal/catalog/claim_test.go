package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

const id = snapshot.ID("snap-0123456789abcdef0")

var errFault = errors.New("the network is gone")

func memory(tags map[string]string) *catalogtest.Memory {
	return catalogtest.New(snapshot.Snapshot{ID: id, Tags: tags})
}

func protocol(c catalog.Catalog, self catalog.Identity) *catalog.Protocol {
	return &catalog.Protocol{Catalog: c, Tag: "t", Self: self, Now: time.Now}
}

func migrate() catalog.ClaimRequest {
	return catalog.ClaimRequest{Snapshot: snapshot.Snapshot{ID: id}, From: catalog.Migrate, To: catalog.Migrating}
}

func named() catalog.ClaimRequest {
	r := migrate()
	r.AnyValue = true
	return r
}

func plus(tags map[string]string, more ...string) map[string]string {
	c := maps.Clone(tags)
	if c == nil {
		c = map[string]string{}
	}
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = more[i+1]
	}
	return c
}

func many(n int) map[string]string {
	tags := map[string]string{"aws:backup:source-resource": "x", "aws:ec2:y": "z"} // these do not count
	for i := range n {
		tags[fmt.Sprintf("tag %02d", i)] = strings.Repeat("ß/ü", i)
	}
	return tags
}

// sameTags ends the test when the snapshot's tags are not these.
func sameTags(t *testing.T, m *catalogtest.Memory, want map[string]string) {
	t.Helper()
	if want == nil {
		want = map[string]string{}
	}
	if diff := cmp.Diff(want, m.Tags(id)); diff != "" {
		t.Errorf("tags of %s (-want +got):\n%s", id, diff)
	}
}

func writes(m *catalogtest.Memory) (n int) {
	for _, c := range m.Calls() {
		if c.Op != catalogtest.OpDescribe {
			n++
		}
	}
	return n
}

func ownerAt(self catalog.Identity, at time.Time, before string) string {
	return catalog.Owner{Identity: self, Renewed: at, Before: before, HadBefore: true}.String()
}

func TestClaimTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory(map[string]string{"t": "migrate", "Name": "db"})
		start := time.Now()
		_, c, err := protocol(m, alpha).Claim(t.Context(), migrate())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("the claim took %s, want the predecessor's 4s", took)
		}
		claimed := m.Tags(id)
		owner := ownerAt(alpha, start, "migrate")
		sameTags(t, m, map[string]string{"t": "migrating", "Name": "db", "t-id": claimed["t-id"], "t-owner": owner})
		if err := c.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Complete(t.Context(), catalog.Migrated); err != nil {
			t.Error(err)
		}
		sameTags(t, m, map[string]string{"t": "migrated", "Name": "db"})
		read := catalogtest.Call{Op: catalogtest.OpDescribe, ID: id}
		want := []catalogtest.Call{
			read,
			{Op: catalogtest.OpCreate, ID: id, Tags: map[string]string{"t": "migrating", "t-id": claimed["t-id"], "t-owner": owner}},
			read, read, read,
			{Op: catalogtest.OpCreate, ID: id, Tags: map[string]string{"t": "migrated"}},
			{Op: catalogtest.OpDelete, ID: id, Tags: map[string]string{"t-id": claimed["t-id"], "t-owner": owner}},
		}
		if diff := cmp.Diff(want, m.Calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// What a claim leaves when it is given back, from any state it may start in.
func TestGiveBack(t *testing.T) {
	old := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) // bubbles start in the year 2000
	for _, c := range []struct {
		name string
		tags map[string]string
		want map[string]string
	}{
		{"marked", map[string]string{"t": "migrate", "a": "b"}, map[string]string{"t": "migrate", "a": "b"}},
		{"no tag", map[string]string{"a": "b"}, map[string]string{"a": "b"}},
		{"empty value", map[string]string{"t": ""}, map[string]string{"t": ""}},
		{"a dash", map[string]string{"t": "-"}, map[string]string{"t": "-"}},
		{"somebody's own value", map[string]string{"t": "a/b c%2D"}, map[string]string{"t": "a/b c%2D"}},
		{"done before", map[string]string{"t": "migrated"}, map[string]string{"t": "migrated"}},
		{"the predecessor's", map[string]string{"t": "migrating", "t-id": "7"}, map[string]string{"t": "migrate"}},
		{"the predecessor's, validating", map[string]string{"t": "validating", "t-id": "7"}, map[string]string{"t": "migrated"}},
		{
			"a dead run's",
			map[string]string{"t": "migrating", "t-id": "7", "t-owner": ownerAt(beta, old, "validated")},
			map[string]string{"t": "validated"},
		},
		{
			"a dead run's without a value before",
			map[string]string{"t": "migrating", "t-id": "7", "t-owner": catalog.Owner{Identity: beta, Renewed: old}.String()},
			nil,
		},
		{
			"a dead run's in one value",
			map[string]string{"t": "migrating 7 " + ownerAt(beta, old, "migrate")},
			map[string]string{"t": "migrate"},
		},
		{"ours, left behind", map[string]string{"t": "migrating", "t-id": "7", "t-owner": ownerAt(alpha, old, "x")}, map[string]string{"t": "x"}},
		{"50 tags", plus(many(49), "t", "migrate"), plus(many(49), "t", "migrate")},
		{"50 tags, a dead run's", plus(many(49), "t", "migrating 7 "+ownerAt(beta, old, "ok")), plus(many(49), "t", "ok")},
		{"50 tags, id left over", plus(many(48), "t", "migrate", "t-id", "7"), plus(many(48), "t", "migrate")},
		{"49 tags, none ours", many(49), many(49)},
		{"48 tags and ours", plus(many(48), "t", "migrate"), plus(many(48), "t", "migrate")},
		{"47 tags and ours", plus(many(47), "t", "migrate"), plus(many(47), "t", "migrate")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory(c.tags)
				ctx, claim, err := protocol(m, alpha).Claim(t.Context(), named())
				if err != nil {
					t.Fatal(err)
				}
				st := catalog.StateOf(m.Tags(id), "t")
				if st.Value != catalog.Migrating || st.ID == "" || st.Owner != claim.Owner() || st.Owner.Identity != alpha {
					t.Errorf("claimed: %+v", st)
				}
				time.Sleep(12 * time.Minute) // two renewals
				if err := claim.Check(t.Context()); err != nil {
					t.Error(err)
				}
				if err := claim.GiveBack(t.Context()); err != nil {
					t.Error(err)
				}
				sameTags(t, m, c.want)
				if err := ctx.Err(); err == nil {
					t.Error("the claim's context lives on after it was given back")
				}
			})
		})
	}
}

// The form of a claim by the room there is, and that Complete clears both.
func TestTagLimit(t *testing.T) {
	for _, c := range []struct {
		others   map[string]string
		combined bool
	}{
		{many(47), false},
		{many(48), true},
		{many(49), true},
		{plus(many(47), "t-id", "7"), false},
	} {
		for _, marked := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d others, marked %t", len(c.others)-2, marked), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tags := c.others
					if marked {
						tags = plus(tags, "t", "migrate")
					}
					m := memory(tags)
					_, claim, err := protocol(m, alpha).Claim(t.Context(), named())
					if err != nil {
						t.Fatal(err)
					}
					if st := catalog.StateOf(m.Tags(id), "t"); st.Combined != c.combined {
						t.Errorf("in one value: %t, want %t", st.Combined, c.combined)
					}
					if err := claim.Complete(t.Context(), catalog.Migrated); err != nil {
						t.Error(err)
					}
					want := plus(c.others, "t", "migrated")
					delete(want, "t-id")
					sameTags(t, m, want)
				})
			})
		}
	}
}

func TestClaimRefuses(t *testing.T) {
	bubble := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		tags    map[string]string
		request catalog.ClaimRequest
		claimed bool // errors.Is ErrClaimed
		text    string
		hint    string
	}{
		{
			"taken since it was listed",
			map[string]string{"t": "migrating", "t-id": "7", "t-owner": ownerAt(beta, bubble.Add(-4*time.Minute), "migrate")},
			migrate(), true,
			`no longer marked "migrate": claimed elsewhere: its tag t is "migrating", owner i-0bbbbbbbbbbbbbbbb, run 20260301-101600-bbbbbbbb, renewed 4m0s ago`, "",
		},
		{"done since it was listed", map[string]string{"t": "migrated"}, migrate(), true, `its tag t is "migrated"`, ""},
		{"mark taken off", nil, migrate(), true, `it has no tag t`, ""},
		{"in one value", map[string]string{"t": "migrating 7 " + ownerAt(beta, bubble, "migrate")}, migrate(), true, `renewed 0s ago`, ""},
		{
			"named, owner alive",
			map[string]string{"t": "migrating", "t-id": "7", "t-owner": ownerAt(beta, bubble.Add(-59*time.Minute), "migrate")},
			named(), true, `owner i-0bbbbbbbbbbbbbbbb, run 20260301-101600-bbbbbbbb, renewed 59m0s ago`, "60 minutes",
		},
		{"named, owner alive, in one value", map[string]string{"t": "migrating 7 " + ownerAt(beta, bubble, "-")}, named(), true, beta.Run, "60 minutes"},
		{"named, owner ahead of our clock", map[string]string{"t": "migrating", "t-owner": ownerAt(beta, bubble.Add(time.Hour), "-")}, named(), true, "2000-01-01T01:00:00Z", ""},
		{"50 other tags", many(50), named(), false, "50 tags", "delete-tags --resources " + string(id)},
		{"value before too long", map[string]string{"t": strings.Repeat("x", 200)}, named(), false, "256 characters", "shorter value"},
		{"too long for one value", plus(many(49), "t", strings.Repeat("x", 155)), named(), false, "256 characters", "shorter value"},
		{"not a value for work", map[string]string{"t": "migrate"}, catalog.ClaimRequest{Snapshot: snapshot.Snapshot{ID: id}, From: "migrate", To: "x"}, false, `"x"`, ""},
		{
			"unknown snapshot", nil,
			catalog.ClaimRequest{Snapshot: snapshot.Snapshot{ID: "snap-00000000"}, From: "migrate", To: "migrating"},
			false, "snap-00000000", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory(c.tags)
				_, claim, err := protocol(m, alpha).Claim(t.Context(), c.request)
				if err == nil {
					claim.Stop()
					t.Fatal("claimed")
				}
				if errors.Is(err, catalog.ErrClaimed) != c.claimed || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %q; want one line with %q, claimed %t", err, c.text, c.claimed)
				}
				if !strings.Contains(hint.Of(err), c.hint) {
					t.Errorf("hint %q, want %q in it", hint.Of(err), c.hint)
				}
				if n := writes(m); n != 0 {
					t.Errorf("%d writes: %v", n, m.Calls())
				}
				sameTags(t, m, c.tags)
			})
		})
	}
}

func TestTakeoverIsSaid(t *testing.T) {
	for _, c := range []struct{ name, owner, want string }{
		{"no owner", "", "has no owner"},
		{"dead owner", ownerAt(beta, time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC), "migrate"), "was not renewed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tags := map[string]string{"t": "migrating", "t-id": "7"}
				if c.owner != "" {
					tags["t-owner"] = c.owner
				}
				var log safeBuffer
				p := protocol(memory(tags), alpha)
				p.Log = slog.New(slog.NewTextHandler(&log, nil))
				_, claim, err := p.Claim(t.Context(), named())
				if err != nil {
					t.Fatal(err)
				}
				claim.Stop()
				if !strings.Contains(log.String(), c.want) || !strings.Contains(log.String(), string(id)) {
					t.Errorf("log %q, want %q and the snapshot in it", log.String(), c.want)
				}
			})
		})
	}
}

func TestOverwrittenInTheWindow(t *testing.T) {
	rival := map[string]string{"t": "migrating", "t-id": "7", "t-owner": ownerAt(beta, time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC), "migrate")}
	for _, c := range []struct {
		name  string
		write map[string]string
		want  map[string]string
	}{
		{"by another run", rival, rival},
		{"by the predecessor", map[string]string{"t": "migrating", "t-id": "7"}, map[string]string{"t": "migrating", "t-id": "7"}},
		{"by a person", map[string]string{"t": "hands off"}, map[string]string{"t": "hands off"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory(map[string]string{"t": "migrate"})
				time.AfterFunc(time.Second, func() {
					if err := m.SetTags(context.WithoutCancel(t.Context()), id, c.write); err != nil {
						t.Error(err)
					}
				})
				_, claim, err := protocol(m, alpha).Claim(t.Context(), migrate())
				if !errors.Is(err, catalog.ErrClaimed) {
					t.Fatalf("claim %v, error %v; want ErrClaimed", claim, err)
				}
				sameTags(t, m, c.want)
			})
		})
	}
}

func TestReadingsLag(t *testing.T) {
	for _, c := range []struct {
		lag  time.Duration
		wins bool
	}{{0, true}, {3900 * time.Millisecond, true}, {6500 * time.Millisecond, true}, {time.Hour, false}} {
		t.Run(c.lag.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory(map[string]string{"t": "migrate"})
				m.Lag = func(string) time.Duration { return c.lag }
				_, claim, err := protocol(m, alpha).Claim(t.Context(), migrate())
				if (err == nil) != c.wins {
					t.Fatalf("error %v, want won %t", err, c.wins)
				}
				if err != nil {
					if errors.Is(err, catalog.ErrClaimed) || !strings.Contains(hint.Of(err), "Key=t,Value=migrate") {
						t.Errorf("error %q with hint %q", err, hint.Of(err))
					}
					if st := catalog.StateOf(m.Tags(id), "t"); st.Owner.Identity != alpha {
						t.Errorf("left behind without an owner: %v", m.Tags(id))
					}
					return
				}
				time.Sleep(c.lag)
				if err := claim.GiveBack(t.Context()); err != nil {
					t.Error(err)
				}
				sameTags(t, m, map[string]string{"t": "migrate"})
			})
		})
	}
}

// A foreign id that a late reading shows beside our owner is no reason to take
// our owner off: the id may be from before our write.
func TestLateReadingKeepsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory(map[string]string{"t": "migrate"})
		m.Lag = func(key string) time.Duration {
			if key == "t-id" {
				return 6 * time.Second
			}
			return 0
		}
		m.Before = func(ctx context.Context, c catalogtest.Call) error {
			if c.Op != catalogtest.OpCreate || c.Tags["t-owner"] == "" {
				return nil
			}
			// The predecessor writes just before we do.
			return errors.Join(m.SetTags(ctx, id, map[string]string{"t": "migrating", "t-id": "7"}), wait(ctx, 3*time.Second))
		}
		if _, _, err := protocol(m, alpha).Claim(t.Context(), migrate()); !errors.Is(err, catalog.ErrClaimed) {
			t.Fatalf("error %v, want ErrClaimed", err)
		}
		if st := catalog.StateOf(m.Tags(id), "t"); st.Owner.Identity != alpha || st.ID == "7" {
			t.Errorf("tags %v, want our claim whole, so that it can be told whose it is", m.Tags(id))
		}
	})
}

// The command in the hint is one that a shell and the aws program take as meant.
func TestHintQuotesTheValue(t *testing.T) {
	for value, want := range map[string]string{
		"migrate":         "--tags Key=t,Value=migrate",
		"":                "--tags Key=t,Value=",
		`it's "x", $HOME`: `--tags '[{"Key":"t","Value":"it'\''s \"x\", $HOME"}]'`,
	} {
		synctest.Test(t, func(t *testing.T) {
			m := memory(map[string]string{"t": value})
			m.Lag = func(string) time.Duration { return time.Hour }
			_, _, err := protocol(m, alpha).Claim(t.Context(), named())
			if got := hint.Of(err); !strings.HasSuffix(got, want) {
				t.Errorf("hint %q, want it to end with %q", got, want)
			}
		})
	}
}

// Whenever the caller gives up, the tag is as it was.
func TestCancelledClaim(t *testing.T) {
	for after := time.Duration(0); after <= 8*time.Second; after += 500 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			m := memory(map[string]string{"t": "migrate"})
			m.Lag = func(string) time.Duration { return 2 * time.Second }
			m.After = func(ctx context.Context, _ catalogtest.Call) error { return wait(ctx, time.Second) } // each call takes a second
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(after, func() { cancel(errFault) })
			_, claim, err := protocol(m, alpha).Claim(ctx, migrate())
			if err == nil {
				if err := claim.GiveBack(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
			}
			sameTags(t, m, map[string]string{"t": "migrate"})
		})
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// What a record says of a snapshot is not that somebody worked on it.
func TestUnclaimed(t *testing.T) {
	dead := catalog.Owner{Identity: catalog.Identity{Host: "h", Boot: "b", Run: "r"}, Renewed: time.Unix(1, 0), Before: "migrate", HadBefore: true}
	for name, c := range map[string]struct{ tags, want map[string]string }{
		"waiting":    {map[string]string{"t": "migrate", "Name": "x"}, map[string]string{"t": "migrate", "Name": "x"}},
		"no tag":     {map[string]string{"Name": "x"}, map[string]string{"Name": "x"}},
		"taken over": {map[string]string{"t": "migrating", "t-id": "7", "t-owner": dead.String(), "Name": "x"}, map[string]string{"t": "migrate", "Name": "x"}},
		"in one":     {map[string]string{"t": "migrating 7 " + dead.String(), "Name": "x"}, map[string]string{"t": "migrate", "Name": "x"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := memory(c.tags)
			_, claim, err := protocol(m, catalog.Identity{Host: "h2", Boot: "b2", Run: "r2"}).Claim(t.Context(), named())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer claim.Stop()
			if diff := cmp.Diff(c.want, claim.Unclaimed(c.tags)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		})
	}
}
