package awssim_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

func createTags(c *ec2.Client, t *testing.T, id string, tags ...types.Tag) error {
	_, err := c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: tags})
	return err
}

func deleteTags(c *ec2.Client, t *testing.T, id string, tags ...types.Tag) error {
	_, err := c.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{id}, Tags: tags})
	return err
}

func wantTags(t *testing.T, s *awssim.Server, id string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, s.Tags(id)); diff != "" {
		t.Errorf("tags of %s (-want +got):\n%s", id, diff)
	}
}

func TestCreateAndDeleteTags(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id := addSnapshot(t, s, awssim.SnapshotSpec{Tags: map[string]string{"keep": "1", "aws:x": "y"}})
	steps := []struct {
		name string
		do   func() error
		want map[string]string
	}{
		{"create", func() error { return createTags(c, t, id, tag("a", "1"), tag("b", "")) }, map[string]string{"keep": "1", "aws:x": "y", "a": "1", "b": ""}},
		{"replace", func() error { return createTags(c, t, id, tag("a", "2")) }, map[string]string{"keep": "1", "aws:x": "y", "a": "2", "b": ""}},
		{"other value", func() error { return deleteTags(c, t, id, tag("a", "1")) }, map[string]string{"keep": "1", "aws:x": "y", "a": "2", "b": ""}},
		{"empty value is a value", func() error { return deleteTags(c, t, id, tag("a", "")) }, map[string]string{"keep": "1", "aws:x": "y", "a": "2", "b": ""}},
		{"same value", func() error { return deleteTags(c, t, id, tag("a", "2"), tag("none", "x")) }, map[string]string{"keep": "1", "aws:x": "y", "b": ""}},
		{"empty value", func() error { return deleteTags(c, t, id, tag("b", "")) }, map[string]string{"keep": "1", "aws:x": "y"}},
		{"any value", func() error { return deleteTags(c, t, id, types.Tag{Key: aws.String("keep")}) }, map[string]string{"aws:x": "y"}},
		{"create again", func() error { return createTags(c, t, id, tag("a", "1"), tag("b", "2")) }, map[string]string{"aws:x": "y", "a": "1", "b": "2"}},
		{"all", func() error { return deleteTags(c, t, id) }, map[string]string{"aws:x": "y"}},
	}
	for _, st := range steps {
		if err := st.do(); err != nil {
			t.Fatalf("%s: %v", st.name, err)
		}
		if diff := cmp.Diff(st.want, s.Tags(id)); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", st.name, diff)
		}
	}
}

func TestTagErrors(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	full := map[string]string{"aws:does": "not count"}
	for i := range 49 {
		full[fmt.Sprint("k", i)] = ""
	}
	id := addSnapshot(t, s, awssim.SnapshotSpec{Tags: full})
	other := addSnapshot(t, s, awssim.SnapshotSpec{})
	for name, tt := range map[string]struct {
		err         error
		code, words string
	}{
		"over the limit": {createTags(c, t, id, tag("a", ""), tag("b", "")), "TagLimitExceeded", ""},
		"long key":       {createTags(c, t, id, tag(strings.Repeat("é", 129), "")), "InvalidParameterValue", "128"},
		"long value":     {createTags(c, t, id, tag("k", strings.Repeat("é", 257))), "InvalidParameterValue", "256"},
		"empty key":      {createTags(c, t, id, tag("", "")), "InvalidParameterValue", "empty"},
		"aws":            {createTags(c, t, id, tag("AWS:x", "")), "InvalidParameterValue", "reserved"},
		"delete aws":     {deleteTags(c, t, id, tag("aws:does", "not count")), "InvalidParameterValue", "reserved"},
		"twice":          {createTags(c, t, id, tag("a", "1"), tag("a", "2")), "InvalidParameterValue", "Duplicate"},
		"no snapshot":    {createTags(c, t, "snap-00000000", tag("a", "1")), "InvalidSnapshot.NotFound", "snap-00000000"},
		"no volume":      {createTags(c, t, "vol-00000000", tag("a", "1")), "InvalidVolume.NotFound", "vol-00000000"},
		"no instance":    {deleteTags(c, t, "i-00000000", tag("a", "1")), "InvalidInstanceID.NotFound", "i-00000000"},
		"no id":          {createTags(c, t, "foo", tag("a", "1")), "InvalidID", "foo"},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, tt.err, tt.code, tt.words) })
	}
	wantTags(t, s, id, full)
	// All or none: one of two has no room.
	_, err := c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{other, id}, Tags: []types.Tag{tag("a", ""), tag("b", "")}})
	wantCode(t, err, "TagLimitExceeded", "")
	wantTags(t, s, other, map[string]string{})
	// The fiftieth fits, and a full snapshot's tags can change.
	if err := createTags(c, t, id, tag("k50", "1"), tag("k1", "2")); err != nil {
		t.Error(err)
	}
}

func TestDescribeTags(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	a := addSnapshot(t, s, awssim.SnapshotSpec{ID: "snap-00000001", Tags: map[string]string{"k": "v1", "l": "v2"}})
	b := addSnapshot(t, s, awssim.SnapshotSpec{ID: "snap-00000002", Tags: map[string]string{"k": "w"}})
	addSnapshot(t, s, awssim.SnapshotSpec{OwnerID: "999999999999", Tags: map[string]string{"k": "hidden"}})
	v := availableVolume(t, c, a)
	if err := createTags(c, t, v, tag("k", "v1")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		filters []types.Filter
		want    []string
	}{
		{"resource", []types.Filter{filter("resource-id", a, b)}, []string{a + " k=v1", a + " l=v2", b + " k=w"}},
		{"key and value", []types.Filter{filter("key", "k"), filter("value", "v*")}, []string{a + " k=v1", v + " k=v1"}},
		{"type", []types.Filter{filter("resource-type", "volume"), filter("key", "k")}, []string{v + " k=v1"}},
		{"tag", []types.Filter{filter("tag:k", "w")}, []string{b + " k=w"}},
	} {
		out, err := c.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: tt.filters})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range out.Tags {
			got = append(got, *d.ResourceId+" "+*d.Key+"="+*d.Value)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	_, err := c.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{filter("tag-key", "k")}})
	wantCode(t, err, "InvalidParameterValue", "tag-key")
	deleteVolume(t, c, v)
}

func TestDescribeTagsPages(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	ids, err := s.AddSnapshots(12, awssim.SnapshotSpec{SizeGiB: 1, Tags: map[string]string{"a": "1", "b": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for p := ec2.NewDescribeTagsPaginator(c, &ec2.DescribeTagsInput{MaxResults: aws.Int32(5)}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Tags) > 5 {
			t.Errorf("a page of %d", len(out.Tags))
		}
		for _, d := range out.Tags {
			seen[*d.ResourceId]++
		}
	}
	for _, id := range ids {
		if seen[id] != 2 {
			t.Errorf("%s: %d tags, want 2", id, seen[id])
		}
	}
}

func TestTagsAreShownLate(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{EC2: awssim.EC2Config{Tags: awssim.Lag{Reads: 2}}})
	id := addSnapshot(t, s, awssim.SnapshotSpec{Tags: map[string]string{"a": "0"}})
	read := func() string {
		out, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		return *out.Snapshots[0].Tags[0].Value
	}
	if err := createTags(c, t, id, tag("a", "1")); err != nil {
		t.Fatal(err)
	}
	wantTags(t, s, id, map[string]string{"a": "1"})
	got := []string{read()}
	if err := s.SetTags(id, map[string]string{"a": "2"}); err != nil { // another writer
		t.Fatal(err)
	}
	for range 4 {
		got = append(got, read())
	}
	if diff := cmp.Diff([]string{"0", "0", "1", "2", "2"}, got); diff != "" {
		t.Errorf("readers see (-want +got):\n%s", diff)
	}
	if err := s.SetTags("snap-99999999", nil); err == nil {
		t.Error("tags of nothing were set")
	}
}

func TestUnfinishedTagsAreLeftBehind(t *testing.T) {
	t.Parallel()
	s, c := startMessy(t, awssim.Config{})
	fresh := addSnapshot(t, s, awssim.SnapshotSpec{Tags: map[string]string{"snap-to-s3": "migrate"}})
	stale := addSnapshot(t, s, awssim.SnapshotSpec{Tags: map[string]string{"snap-to-s3": "migrating", "snap-to-s3-id": "1", "Name": "x"}})
	done := addSnapshot(t, s, awssim.SnapshotSpec{})
	for id, tags := range map[string][]types.Tag{
		fresh: {tag("snap-to-s3", "migrating"), tag("snap-to-s3-id", "77"), tag("Name", "y-id")},
		done:  {tag("snap-to-s3", "migrated"), tag("x-id", "no tag x")},
	} {
		if err := createTags(c, t, id, tags...); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Close()
	want := []string{
		"left behind: tag snap-to-s3-id=77 of snapshot " + fresh,
		"left behind: tag snap-to-s3=migrating of snapshot " + fresh,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got %v\nwant %s; nothing of %s and %s", err, strings.Join(want, "\n"), stale, done)
	}
}
