package catalog_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/snapshot"
)

const freedID = snapshot.ID("snap-0000000a")

// dead is a run that is no more.
func dead() catalog.Identity { return catalog.Identity{Host: "i-1", Boot: "b", Run: "dead"} }

func ownerText(who catalog.Identity, renewed time.Time, before string) string {
	return catalog.Owner{Identity: who, Renewed: renewed, Before: before, HadBefore: before != ""}.String()
}

func TestFree(t *testing.T) {
	other := catalog.Identity{Host: "i-2", Boot: "b", Run: "alive"}
	type tags = map[string]string
	for name, c := range map[string]struct {
		tags, want tags
		claimID    string
		renewed    time.Duration // since the owner was seen
		freed      catalog.Freed
	}{
		"a claim": {
			tags:  tags{"t": "migrating", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1, 0), "migrate")},
			want:  tags{"t": "migrate"},
			freed: catalog.FreedBack,
		},
		"a claim by its number": {
			tags:    tags{"t": "migrating", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1, 0), "odd / value")},
			want:    tags{"t": "odd / value"},
			claimID: "7", freed: catalog.FreedBack,
		},
		"without a tag before": {
			tags:  tags{"t": "migrating", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1, 0), "")},
			want:  tags{},
			freed: catalog.FreedBack,
		},
		"in one value": {
			tags:  tags{"t": "migrating 7 " + ownerText(dead(), time.Unix(1, 0), "migrate")},
			want:  tags{"t": "migrate"},
			freed: catalog.FreedBack,
		},
		"completed, but id and owner stay": {
			tags:  tags{"t": "migrated", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1, 0), "migrate")},
			want:  tags{"t": "migrated"},
			freed: catalog.FreedTags,
		},
		"the predecessor has claimed it since": {
			tags:    tags{"t": "migrating", "t-id": "8", "t-owner": ownerText(dead(), time.Unix(1, 0), "migrate")},
			want:    tags{"t": "migrating", "t-id": "8"},
			claimID: "7", freed: catalog.FreedTags,
		},
		"another's": {
			tags:  tags{"t": "migrating", "t-id": "7", "t-owner": ownerText(other, time.Unix(1, 0), "migrate")},
			want:  tags{"t": "migrating", "t-id": "7", "t-owner": ownerText(other, time.Unix(1, 0), "migrate")},
			freed: catalog.FreedNothing,
		},
		"renewed since it was seen": {
			tags:    tags{"t": "migrating", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1000, 0), "migrate")},
			want:    tags{"t": "migrating", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1000, 0), "migrate")},
			renewed: time.Second, freed: catalog.FreedNothing,
		},
		"nobody's": {
			tags: tags{"t": "migrating", "t-id": "7"}, want: tags{"t": "migrating", "t-id": "7"}, freed: catalog.FreedNothing,
		},
		"none": {tags: tags{"t": "migrate"}, want: tags{"t": "migrate"}, freed: catalog.FreedNothing},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cat := catalogtest.New(snapshot.Snapshot{ID: freedID, Tags: maps.Clone(c.tags)})
				p := &catalog.Protocol{Catalog: cat, Tag: "t"}
				a := catalog.Abandoned{Snapshot: freedID, Owner: dead(), ClaimID: c.claimID}
				if c.renewed > 0 {
					a.Renewed = time.Unix(1000, 0).Add(-c.renewed)
				}
				freed, err := p.Free(t.Context(), a)
				if err != nil || freed != c.freed {
					t.Errorf("freed %q, %v; want %q", freed, err, c.freed)
				}
				if diff := cmp.Diff(c.want, cat.Tags(freedID)); diff != "" {
					t.Errorf("tags (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Whatever call fails, before its effect or after it, a second Free ends it; and no
// moment has a claim without an owner.
func TestFreeFailsAtEveryCall(t *testing.T) {
	start := map[string]string{"t": "migrating", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1, 0), "migrate")}
	for n := 1; n <= 8; n++ {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				cat := catalogtest.New(snapshot.Snapshot{ID: freedID, Tags: maps.Clone(start)})
				calls := 0
				hook := func(context.Context, catalogtest.Call) error {
					if calls++; calls == n {
						return errors.New("a fault")
					}
					if st := catalog.StateOf(cat.Tags(freedID), "t"); st.InProgress() && !st.Owned {
						t.Errorf("a claim without an owner: %v", cat.Tags(freedID))
					}
					return nil
				}
				if after {
					cat.After = hook
				} else {
					cat.Before = hook
				}
				p := &catalog.Protocol{Catalog: cat, Tag: "t"}
				a := catalog.Abandoned{Snapshot: freedID, Owner: dead()}
				if _, err := p.Free(t.Context(), a); err != nil {
					if _, err := p.Free(t.Context(), a); err != nil {
						t.Errorf("call %d: again: %v", n, err)
					}
				}
				if diff := cmp.Diff(map[string]string{"t": "migrate"}, cat.Tags(freedID)); diff != "" {
					t.Errorf("call %d: tags (-want +got):\n%s", n, diff)
				}
			})
		}
	}
}

// A claim that is taken between the look and the write is the taker's.
func TestFreeLosesToALiveClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive := catalog.Identity{Host: "i-2", Boot: "b", Run: "alive"}
		now := map[string]string{"t": "migrating", "t-id": "9", "t-owner": ownerText(alive, time.Now(), "migrate")}
		cat := catalogtest.New(snapshot.Snapshot{ID: freedID, Tags: map[string]string{
			"t": "migrating", "t-id": "7", "t-owner": ownerText(dead(), time.Unix(1, 0), "migrate"),
		}})
		reads := 0
		cat.Before = func(ctx context.Context, c catalogtest.Call) error {
			if c.Op == catalogtest.OpDescribe {
				if reads++; reads == 2 {
					return cat.SetTags(ctx, freedID, now)
				}
			}
			return nil
		}
		p := &catalog.Protocol{Catalog: cat, Tag: "t"}
		if freed, err := p.Free(t.Context(), catalog.Abandoned{Snapshot: freedID, Owner: dead()}); err != nil || freed != catalog.FreedNothing {
			t.Errorf("freed %q, %v", freed, err)
		}
		if diff := cmp.Diff(now, cat.Tags(freedID)); diff != "" {
			t.Errorf("the live claim changed (-want +got):\n%s", diff)
		}
	})
}

func TestFreeOfASnapshotThatIsGone(t *testing.T) {
	p := &catalog.Protocol{Catalog: catalogtest.New(), Tag: "t"}
	if freed, err := p.Free(t.Context(), catalog.Abandoned{Snapshot: freedID, Owner: dead()}); err != nil || freed != catalog.FreedNothing {
		t.Errorf("freed %q, %v", freed, err)
	}
}

func TestFreeNobodys(t *testing.T) {
	type tags = map[string]string
	for name, c := range map[string]struct {
		tags, change, want tags
		freed              catalog.Freed
	}{
		"migrating":     {tags: tags{"t": "migrating", "t-id": "1"}, want: tags{"t": "migrate"}, freed: catalog.FreedBack},
		"validating":    {tags: tags{"t": "validating", "t-id": "1"}, want: tags{"t": "migrated"}, freed: catalog.FreedBack},
		"without id":    {tags: tags{"t": "migrating"}, want: tags{"t": "migrate"}, freed: catalog.FreedBack},
		"not worked on": {tags: tags{"t": "migrated"}, want: tags{"t": "migrated"}, freed: catalog.FreedNothing},
		"claimed anew": {
			tags: tags{"t": "migrating", "t-id": "1"}, change: tags{"t-id": "2"},
			want: tags{"t": "migrating", "t-id": "2"}, freed: catalog.FreedNothing,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cat := catalogtest.New(snapshot.Snapshot{ID: freedID, Tags: maps.Clone(c.tags)})
			if c.change != nil {
				if err := cat.SetTags(t.Context(), freedID, c.change); err != nil {
					t.Fatal(err)
				}
			}
			p := &catalog.Protocol{Catalog: cat, Tag: "t"}
			freed, err := p.FreeNobodys(t.Context(), freedID, catalog.StateOf(c.tags, "t"))
			if err != nil || freed != c.freed {
				t.Errorf("freed %q, %v; want %q", freed, err, c.freed)
			}
			if diff := cmp.Diff(c.want, cat.Tags(freedID)); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLiveOwnerAndBusy(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	fresh, old := now.Add(-59*time.Minute), now.Add(-61*time.Minute)
	for name, c := range map[string]struct {
		tags       map[string]string
		live, busy bool
	}{
		"nothing":                 {map[string]string{"Name": "web"}, false, false},
		"live":                    {map[string]string{"t": "migrating", "t-owner": ownerText(dead(), fresh, "")}, true, true},
		"live, under another tag": {map[string]string{"t": "migrate", "u-owner": ownerText(dead(), fresh, "")}, true, true},
		"live, in one value":      {map[string]string{"u": "migrating 1 " + ownerText(dead(), fresh, "")}, true, true},
		"old":                     {map[string]string{"t": "migrating", "t-owner": ownerText(dead(), old, "")}, false, false},
		"old, in one value":       {map[string]string{"u": "migrating 1 " + ownerText(dead(), old, "")}, false, false},
		"nobody's":                {map[string]string{"u": "validating", "u-id": "1"}, false, true},
		"not an owner":            {map[string]string{"product-owner": "i-1/b/dead/x/-"}, false, false},
	} {
		if _, live := catalog.LiveOwner(c.tags, dead().Run, now); live != c.live {
			t.Errorf("%s: live %v, want %v", name, live, c.live)
		}
		if _, live := catalog.LiveOwner(c.tags, "another", now); live {
			t.Errorf("%s: another run is live", name)
		}
		if busy := catalog.Busy(c.tags, now); busy != c.busy {
			t.Errorf("%s: busy %v, want %v", name, busy, c.busy)
		}
	}
}
