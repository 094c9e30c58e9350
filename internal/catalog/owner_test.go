package catalog_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snap-to-s3/internal/catalog"
)

var (
	alpha = catalog.Identity{Host: "i-0aaaaaaaaaaaaaaaa", Boot: "5b1a7c9e-0000-4000-8000-000000000001", Run: "20260301-101500-aaaaaaaa"}
	beta  = catalog.Identity{Host: "i-0bbbbbbbbbbbbbbbb", Boot: "5b1a7c9e-0000-4000-8000-000000000002", Run: "20260301-101600-bbbbbbbb"}
)

func TestOwnerText(t *testing.T) {
	at := time.Unix(1772360100, 0).UTC()
	for _, c := range []struct {
		name   string
		before string
		had    bool
		want   string // the last component
	}{
		{"none", "", false, "-"},
		{"empty", "", true, ""},
		{"dash", "-", true, "%2D"},
		{"two dashes", "--", true, "--"},
		{"usual", "migrate", true, "migrate"},
		{"slashes", "a/b//c/", true, "a/b//c/"},
		{"percent", "100%", true, "100%25"},
		{"looks escaped", "%2D", true, "%252D"},
		{"any characters", "schön \"ä\" 日本 \n", true, "schön \"ä\" 日本 \n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := catalog.Owner{Identity: alpha, Renewed: at, Before: c.before, HadBefore: c.had}
			want := "i-0aaaaaaaaaaaaaaaa/5b1a7c9e-0000-4000-8000-000000000001/20260301-101500-aaaaaaaa/1772360100/" + c.want
			if got := o.String(); got != want {
				t.Errorf("String() = %q, want %q", got, want)
			}
			back, err := catalog.ParseOwner(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(o, back); diff != "" {
				t.Errorf("ParseOwner(%q) (-want +got):\n%s", want, diff)
			}
		})
	}
}

func TestParseOwnerRefuses(t *testing.T) {
	for _, s := range []string{
		"", "-", "somebody", "h/b/r/1", "/b/r/1/-", "h//r/1/-", "h/b//1/-", "h/b/r//-", "h/b/r/-1/-",
		"h/b/r/x/-", "h/b/r/99999999999999999999/-", "h h/b/r/1/-", "h/b/r/1/%", "h/b/r/1/%zz", "h/b/r/1/%ff", "ä/b/r/1/-",
	} {
		if o, err := catalog.ParseOwner(s); err == nil {
			t.Errorf("ParseOwner(%q) = %+v, want an error", s, o)
		}
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add("h/b/r/1772360100/-")
	f.Add("h/b/r/0/%2D")
	f.Add("h/b/r/1/a/b%25")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := catalog.ParseOwner(s)
		if err != nil {
			return
		}
		back, err := catalog.ParseOwner(o.String())
		if err != nil {
			t.Fatalf("%q was read, but its own text %q is not: %v", s, o.String(), err)
		}
		if diff := cmp.Diff(o, back); diff != "" {
			t.Errorf("%q changes on its way (-first +second):\n%s", s, diff)
		}
	})
}

func TestStateOf(t *testing.T) {
	o := catalog.Owner{Identity: alpha, Renewed: time.Unix(1772360100, 0).UTC(), Before: "migrate", HadBefore: true}
	for _, c := range []struct {
		name string
		tags map[string]string
		want catalog.State
	}{
		{"nothing", nil, catalog.State{}},
		{"other tags", map[string]string{"tag": "x", "t-owner": "y"}, catalog.State{}},
		{"marked", map[string]string{"t": "migrate"}, catalog.State{Value: "migrate", Present: true}},
		{"empty", map[string]string{"t": ""}, catalog.State{Present: true}},
		{"predecessor's", map[string]string{"t": "migrating", "t-id": "42"}, catalog.State{Value: "migrating", Present: true, ID: "42"}},
		{
			"apart",
			map[string]string{"t": "migrating", "t-id": "42", "t-owner": o.String()},
			catalog.State{Value: "migrating", Present: true, ID: "42", Owner: o, Owned: true},
		},
		{
			"in one",
			map[string]string{"t": "validating 42 " + o.String()},
			catalog.State{Value: "validating", Present: true, ID: "42", Owner: o, Owned: true, Combined: true},
		},
		{
			"in one beside the rest of a dead claim",
			map[string]string{"t": "migrating 42 " + o.String(), "t-id": "7", "t-owner": "h/b/r/1/-"},
			catalog.State{Value: "migrating", Present: true, ID: "42", Owner: o, Owned: true, Combined: true},
		},
		{"somebody's words", map[string]string{"t": "migrating 42 things"}, catalog.State{Value: "migrating 42 things", Present: true}},
		{"not a number", map[string]string{"t": "migrating x " + o.String()}, catalog.State{Value: "migrating x " + o.String(), Present: true}},
		{"not in progress", map[string]string{"t": "migrated 4 " + o.String()}, catalog.State{Value: "migrated 4 " + o.String(), Present: true}},
		{"owner unreadable", map[string]string{"t": "migrating", "t-owner": "Bob"}, catalog.State{Value: "migrating", Present: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := catalog.StateOf(c.tags, "t")
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreUnexported(catalog.State{})); diff != "" {
				t.Errorf("StateOf(%v) (-want +got):\n%s", c.tags, diff)
			}
		})
	}
}

func FuzzStateOf(f *testing.F) {
	f.Add("migrating", "42", "h/b/r/1/migrate")
	f.Add("migrating 42 h/b/r/1/-", "", "")
	f.Fuzz(func(t *testing.T, value, id, owner string) {
		tags := map[string]string{"t": value, "t-id": id, "t-owner": owner}
		before := maps.Clone(tags)
		st := catalog.StateOf(tags, "t")
		if !maps.Equal(before, tags) {
			t.Errorf("StateOf changed its argument to %v", tags)
		}
		if !st.Present || !strings.HasPrefix(value, st.Value) {
			t.Errorf("StateOf(%v) = %+v", tags, st)
		}
		if st.Combined && value != st.Value+" "+st.ID+" "+thirdWord(value) {
			t.Errorf("StateOf(%q) is combined, but %q %q are not its first words", value, st.Value, st.ID)
		}
	})
}

func thirdWord(value string) string { return strings.SplitN(value, " ", 3)[2] }
