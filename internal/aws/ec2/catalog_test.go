package ec2_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// list collects what a filter chooses, and the error that ends it.
func (w *world) list(f catalog.Filter) (ids []snapshot.ID, err error) {
	for s, e := range ec2.NewCatalog(w.session).Snapshots(w.t.Context(), f) {
		if e != nil {
			return ids, e
		}
		ids = append(ids, s.ID)
	}
	return ids, nil
}

func (w *world) count(action string) int {
	n := 0
	for _, c := range w.sim.Calls() {
		if c.Action == action {
			n++
		}
	}
	return n
}

func TestSnapshotsOfAllPages(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	want, err := w.sim.AddSnapshots(2500, awssim.SnapshotSpec{SizeGiB: 8, Tags: map[string]string{tag: "migrate"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.sim.AddSnapshots(300, awssim.SnapshotSpec{SizeGiB: 8, Tags: map[string]string{tag: "migrated"}}); err != nil {
		t.Fatal(err)
	}
	w.sim.ResetCalls()
	got, err := w.list(catalog.Filter{Tag: tag, Value: "migrate"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d snapshots, want %d", len(got), len(want))
	}
	for i := range want {
		if string(got[i]) != want[i] {
			t.Fatalf("snapshot %d is %s, want %s", i, got[i], want[i])
		}
	}
	if n := w.count("DescribeSnapshots"); n != 3 {
		t.Errorf("%d calls for 2,801 snapshots, want 3 pages of 1,000", n)
	}
}

func TestSnapshotsAreReadPageByPage(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	if _, err := w.sim.AddSnapshots(2500, awssim.SnapshotSpec{SizeGiB: 8, Tags: map[string]string{tag: "migrate"}}); err != nil {
		t.Fatal(err)
	}
	w.sim.ResetCalls()
	for range ec2.NewCatalog(w.session).Snapshots(t.Context(), catalog.Filter{Tag: tag, Value: "migrate"}) {
		break
	}
	if n := w.count("DescribeSnapshots"); n != 1 {
		t.Errorf("%d calls to see the first snapshot, want 1", n)
	}
}

// Pages are cut before the filter: some of them are empty.
func TestSnapshotsBeyondEmptyPages(t *testing.T) {
	w := newWorld(t, awssim.Config{EC2: awssim.EC2Config{PageSize: 5}})
	if _, err := w.sim.AddSnapshots(40, awssim.SnapshotSpec{SizeGiB: 8}); err != nil {
		t.Fatal(err)
	}
	last, err := w.sim.AddSnapshot(awssim.SnapshotSpec{SizeGiB: 8, Tags: map[string]string{tag: "migrate"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.list(catalog.Filter{Tag: tag, Value: "migrate"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]snapshot.ID{snapshot.ID(last)}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSnapshotsChosenByTag(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	byValue := map[string]snapshot.ID{}
	for _, v := range []string{"a*", "ab", "a?", `a\`, `a\*`, "", "*", "ü ✓ <&>", "A*"} {
		id, err := w.sim.AddSnapshot(awssim.SnapshotSpec{SizeGiB: 1, Tags: map[string]string{"odd key*:/ü": v}})
		if err != nil {
			t.Fatal(err)
		}
		byValue[v] = snapshot.ID(id)
	}
	for _, s := range []awssim.SnapshotSpec{
		{SizeGiB: 1, Tags: map[string]string{"odd key*:/ü": "ab"}, State: "pending"},
		{SizeGiB: 1, Tags: map[string]string{"odd key*:/ü": "ab"}, State: "error"},
		{SizeGiB: 1, Tags: map[string]string{"odd key*:/ü": "ab"}, OwnerID: "999999999999"},
		{SizeGiB: 1, Tags: map[string]string{"odd key": "ab"}},
	} {
		if _, err := w.sim.AddSnapshot(s); err != nil {
			t.Fatal(err)
		}
	}
	for v, want := range byValue {
		got, err := w.list(catalog.Filter{Tag: "odd key*:/ü", Value: v})
		if err != nil {
			t.Errorf("value %q: %v", v, err)
		}
		if diff := cmp.Diff([]snapshot.ID{want}, got); diff != "" {
			t.Errorf("value %q (-want +got):\n%s", v, diff)
		}
	}
	if got, err := w.list(catalog.Filter{}); err == nil {
		t.Errorf("an empty filter chose %v, want an error", got)
	}
}

func TestSnapshotsByID(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	ids, err := w.sim.AddSnapshots(450, awssim.SnapshotSpec{SizeGiB: 8})
	if err != nil {
		t.Fatal(err)
	}
	var asked, want []snapshot.ID
	for _, id := range slices.Backward(ids) {
		asked = append(asked, snapshot.ID(id))
	}
	want = slices.Clone(asked)
	asked = append(asked, asked[0], asked[300])
	got, err := w.list(catalog.Filter{IDs: asked, Tag: tag, Value: "not looked at"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSnapshotsUnknownID(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	other, err := w.sim.AddSnapshot(awssim.SnapshotSpec{SizeGiB: 1, OwnerID: "999999999999"})
	if err != nil {
		t.Fatal(err)
	}
	ours := w.snapshot.ID
	tests := []struct {
		name string
		ids  []snapshot.ID
		bad  snapshot.ID
	}{
		{"alone", []snapshot.ID{"snap-0123456789abcdef0"}, "snap-0123456789abcdef0"},
		{"among good ones", []snapshot.ID{ours, "snap-0123456789abcdef0"}, "snap-0123456789abcdef0"},
		{"short", []snapshot.ID{ours, "snap-01234567"}, "snap-01234567"},
		{"start of another", []snapshot.ID{ours, "snap-0123456789abcdef0", "snap-01234567"}, "snap-0123456789abcdef0"},
		{"another account's", []snapshot.ID{ours, snapshot.ID(other)}, snapshot.ID(other)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.list(catalog.Filter{IDs: tt.ids})
			if err == nil || !strings.Contains(err.Error(), "snapshot "+string(tt.bad)+" does not exist in us-east-1, or is not owned by this account") {
				t.Errorf("error %v, want one that names %s", err, tt.bad)
			}
			if hint.Of(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

// EC2 may refuse a list without saying for which id.
func TestSnapshotsUnknownIDThatIsNotNamed(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.sim.SetFault(awssim.Times(1, awssim.Action("DescribeSnapshots"),
		awssim.Fault{Before: &awssim.Error{Status: 400, Code: "InvalidSnapshot.NotFound", Message: "Not all snapshots exist."}}))
	_, err := w.list(catalog.Filter{IDs: []snapshot.ID{w.snapshot.ID, "snap-0123456789abcdef0"}})
	if err == nil || !strings.Contains(err.Error(), "snap-0123456789abcdef0") || strings.Contains(err.Error(), string(w.snapshot.ID)) {
		t.Errorf("error %v, want one that names the unknown id alone", err)
	}
}

func TestSnapshotFields(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	start := time.Date(2017, 1, 2, 3, 4, 5, 0, time.UTC)
	description := "nightly / \"db\" – ü\t" + strings.Repeat("x", 200)
	id, err := w.sim.AddSnapshot(awssim.SnapshotSpec{
		SizeGiB: 16384, VolumeID: "vol-0123456789abcdef0", Start: start, Description: description,
		Tags: map[string]string{"Name": "", "k<>&": "v"}, State: "error", StateMessage: "Given key ID is not accessible",
		Encrypted: true, KMSKeyID: "key-1", Archived: true, FullSize: 123456789,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := snapshot.Snapshot{
		ID: snapshot.ID(id), VolumeID: "vol-0123456789abcdef0", Size: 16384 << 30, FullSize: 123456789, Start: start,
		Description: description, Tags: map[string]string{"Name": "", "k<>&": "v"}, State: snapshot.StateError,
		StateReason: "Given key ID is not accessible", Archived: true, Encrypted: true,
		KMSKeyID: "arn:aws:kms:us-east-1:111122223333:key/key-1",
	}
	if diff := cmp.Diff(want, w.find(snapshot.ID(id))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	plain, err := w.sim.AddSnapshot(awssim.SnapshotSpec{SizeGiB: 65536, FullSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.find(snapshot.ID(plain)); got.FullSize != 0 || got.Size != 64<<40 || got.Archived || got.Encrypted {
		t.Errorf("plain snapshot: %+v", got)
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	c, id := ec2.NewCatalog(w.session), w.snapshot.ID
	odd := map[string]string{"a": "1", "b": "", "ü ✓/<&>*?\\": "=:\"' \\*", "c": "3"}
	if err := c.SetTags(t.Context(), id, odd); err != nil {
		t.Fatal(err)
	}
	if err := c.SetTags(t.Context(), id, map[string]string{"a": "2"}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetTags(t.Context(), id, nil); err != nil {
		t.Errorf("no tags: %v", err)
	}
	want := maps.Clone(odd)
	want["a"] = "2"
	if diff := cmp.Diff(want, w.find(id).Tags); diff != "" {
		t.Errorf("after SetTags (-want +got):\n%s", diff)
	}
	// Only an exact match is deleted: "c" has a value, and "" is not it.
	delete(want, "b")
	delete(want, "ü ✓/<&>*?\\")
	err := c.DeleteTags(t.Context(), id, map[string]string{"a": "1", "b": "", "ü ✓/<&>*?\\": "=:\"' \\*", "c": "", "none": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteTags(t.Context(), id, nil); err != nil {
		t.Errorf("no tags: %v", err)
	}
	if diff := cmp.Diff(want, w.find(id).Tags); diff != "" {
		t.Errorf("after DeleteTags (-want +got):\n%s", diff)
	}
}

func TestTagsWithoutRoom(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	full := map[string]string{}
	for i := range 49 {
		full[fmt.Sprint("key", i)] = "v"
	}
	if err := w.sim.SetTags(string(w.snapshot.ID), full); err != nil {
		t.Fatal(err)
	}
	c := ec2.NewCatalog(w.session)
	err := c.SetTags(t.Context(), w.snapshot.ID, map[string]string{"one": "", "two": ""})
	if err == nil || !strings.Contains(err.Error(), "write tags one, two of "+string(w.snapshot.ID)) || !strings.Contains(err.Error(), "at most 50") || hint.Of(err) == "" {
		t.Errorf("error %v, hint %q", err, hint.Of(err))
	}
	if diff := cmp.Diff(full, w.sim.Tags(string(w.snapshot.ID))); diff != "" {
		t.Errorf("a refused call wrote tags (-want +got):\n%s", diff)
	}
	if err := c.SetTags(t.Context(), w.snapshot.ID, map[string]string{"one": ""}); err != nil {
		t.Errorf("the fiftieth tag: %v", err)
	}
}

func TestCatalogNamesWhatIsDenied(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.sim.DenyActions([]string{"ec2:DescribeSnapshots", "ec2:CreateTags", "ec2:DeleteTags"})
	c := ec2.NewCatalog(w.session)
	_, byTag := w.list(catalog.Filter{Tag: tag, Value: "migrate"})
	_, byID := w.list(catalog.Filter{IDs: []snapshot.ID{w.snapshot.ID}})
	for action, err := range map[string]error{
		"ec2:DescribeSnapshots": byTag, "ec2:DescribeSnapshots ": byID,
		"ec2:CreateTags": c.SetTags(t.Context(), w.snapshot.ID, map[string]string{"a": "b"}),
		"ec2:DeleteTags": c.DeleteTags(t.Context(), w.snapshot.ID, map[string]string{"a": "b"}),
	} {
		if err == nil || !strings.Contains(err.Error()+hint.Of(err), strings.TrimSpace(action)) {
			t.Errorf("%s: error %v, hint %q do not name the right", action, err, hint.Of(err))
		}
	}
}

// A write of tags that was signed long ago is not made again by itself: meanwhile
// the tags may have become somebody else's to write. The next one is by AWS's time.
func TestOldWritesOfTagsAreNotRepeated(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	c := ec2.NewCatalog(w.session)
	look := func() {
		t.Helper()
		for _, err := range c.Snapshots(t.Context(), catalog.Filter{IDs: []snapshot.ID{w.snapshot.ID}}) {
			if err != nil {
				t.Error(err)
			}
		}
	}
	look()
	w.sim.SetClock(func() time.Time { return time.Now().Add(time.Hour) })
	w.sim.ResetCalls()
	mine := map[string]string{"owner": "me"}
	if err := c.SetTags(t.Context(), w.snapshot.ID, mine); aws.Code(err) != "RequestExpired" {
		t.Errorf("an old write: %v, want RequestExpired", err)
	}
	if n := w.count("CreateTags"); n != 1 {
		t.Errorf("it was made %d times", n)
	}
	if got := w.sim.Tags(string(w.snapshot.ID))["owner"]; got != "" {
		t.Errorf("the tag is %q", got)
	}
	look() // is made again
	if err := c.SetTags(t.Context(), w.snapshot.ID, mine); err != nil {
		t.Errorf("a new write: %v", err)
	}
}
