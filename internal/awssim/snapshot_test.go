package awssim_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snap-to-s3/internal/awssim"
)

func TestDescribeSnapshotFields(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	start := time.Date(2017, 1, 1, 12, 0, 0, 5e6, time.UTC)
	disk := testDisk(t, 3<<20+512, 0, 100, 600<<10, 3<<20)
	id := addSnapshot(t, s, awssim.SnapshotSpec{
		ID: "snap-0123456789abcdef0", Image: disk, VolumeID: "vol-ffffffff", Start: start, Description: "a/\"é\"\n<b>",
		Tags: map[string]string{"b": "2", "a": "", "aws:backup": "x"}, Encrypted: true, KMSKeyID: "1234abcd-12ab-34cd-56ef-1234567890ab",
		Archived: true, StateMessage: "why",
	})
	out, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	completed := start.Add(90 * time.Second)
	want := []types.Snapshot{{
		SnapshotId: aws.String("snap-0123456789abcdef0"), VolumeId: aws.String("vol-ffffffff"), State: types.SnapshotStateCompleted,
		StateMessage: aws.String("why"), StartTime: &start, CompletionTime: &completed, Progress: aws.String("100%"),
		OwnerId: aws.String("111122223333"), VolumeSize: aws.Int32(1), Description: aws.String("a/\"é\"\n<b>"),
		Tags: []types.Tag{tag("a", ""), tag("aws:backup", "x"), tag("b", "2")}, Encrypted: aws.Bool(true),
		KmsKeyId:    aws.String("arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
		StorageTier: types.StorageTierArchive, FullSnapshotSizeInBytes: aws.Int64(3 * 512 << 10),
	}}
	opts := []cmp.Option{cmpopts.IgnoreUnexported(types.Snapshot{}, types.Tag{}), cmpopts.IgnoreFields(types.Snapshot{}, "DataEncryptionKeyId")}
	if diff := cmp.Diff(want, out.Snapshots, opts...); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	if len(aws.ToString(out.Snapshots[0].DataEncryptionKeyId)) == 0 {
		t.Error("an encrypted snapshot has no data key id")
	}
}

func TestSnapshotsUnlikeTheFirst(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id := addSnapshot(t, s, awssim.SnapshotSpec{SizeGiB: 16384, State: "pending", FullSize: -1})
	out, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	got := out.Snapshots[0]
	if got.FullSnapshotSizeInBytes != nil || got.KmsKeyId != nil || got.State != "pending" || *got.Progress == "100%" ||
		got.CompletionTime != nil || *got.VolumeSize != 16384 || got.StorageTier != "standard" {
		t.Errorf("got %+v", got)
	}
}

func TestDescribeSnapshotErrors(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	known := addSnapshot(t, s, awssim.SnapshotSpec{})
	for name, tt := range map[string]struct {
		in          ec2.DescribeSnapshotsInput
		code, words string
	}{
		"unknown":      {ec2.DescribeSnapshotsInput{SnapshotIds: []string{known, "snap-00000000"}}, "InvalidSnapshot.NotFound", "snapshot 'snap-00000000' does"},
		"two unknown":  {ec2.DescribeSnapshotsInput{SnapshotIds: []string{"snap-00000000", "snap-11111111"}}, "InvalidSnapshot.NotFound", "'snap-00000000, snap-11111111' do"},
		"malformed":    {ec2.DescribeSnapshotsInput{SnapshotIds: []string{"snap-xyz"}}, "InvalidSnapshotID.Malformed", "snap-xyz"},
		"upper case":   {ec2.DescribeSnapshotsInput{SnapshotIds: []string{"snap-0000000A"}}, "InvalidSnapshotID.Malformed", "snap-0000000A"},
		"other kind":   {ec2.DescribeSnapshotsInput{SnapshotIds: []string{"vol-00000000"}}, "InvalidParameterValue", "Expected: 'snap-...'"},
		"ids and page": {ec2.DescribeSnapshotsInput{SnapshotIds: []string{known}, MaxResults: aws.Int32(10)}, "InvalidParameterCombination", "MaxResults"},
		"small page":   {ec2.DescribeSnapshotsInput{MaxResults: aws.Int32(4)}, "InvalidParameterValue", "4"},
		"token":        {ec2.DescribeSnapshotsInput{NextToken: aws.String("%")}, "InvalidNextToken", ""},
		"filter":       {ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("state", "completed")}}, "InvalidParameterValue", "'state'"},
		"empty filter": {ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("status")}}, "InvalidParameterValue", "'status'"},
		"many values":  {ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("status", slices.Repeat([]string{"a"}, 201)...)}}, "FilterLimitExceeded", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.DescribeSnapshots(t.Context(), &tt.in)
			wantCode(t, err, tt.code, tt.words)
		})
	}
}

func TestSnapshotFiltersAndOwners(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	names := map[string]string{}
	add := func(name string, spec awssim.SnapshotSpec) { names[addSnapshot(t, s, spec)] = name }
	add("migrate", awssim.SnapshotSpec{Tags: map[string]string{"snap-to-s3": "migrate"}, VolumeID: "vol-11111111"})
	add("migrated", awssim.SnapshotSpec{Tags: map[string]string{"snap-to-s3": "migrated", "*": "x"}, Archived: true})
	add("pending", awssim.SnapshotSpec{Tags: map[string]string{"snap-to-s3": "migrate"}, State: "pending"})
	add("public", awssim.SnapshotSpec{Tags: map[string]string{"snap-to-s3": "migrate"}, OwnerID: "137112412989"})
	self := []string{"self"}
	for _, tt := range []struct {
		name string
		in   ec2.DescribeSnapshotsInput
		want string
	}{
		{"no owner", ec2.DescribeSnapshotsInput{}, "migrate migrated pending public"},
		{"self", ec2.DescribeSnapshotsInput{OwnerIds: self}, "migrate migrated pending"},
		{"account", ec2.DescribeSnapshotsInput{OwnerIds: []string{"111122223333"}}, "migrate migrated pending"},
		{"amazon", ec2.DescribeSnapshotsInput{OwnerIds: []string{"amazon"}}, "public"},
		{"all can restore", ec2.DescribeSnapshotsInput{RestorableByUserIds: []string{"all"}}, "public"},
		{"self can restore", ec2.DescribeSnapshotsInput{RestorableByUserIds: self}, "migrate migrated pending"},
		{"tag", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:snap-to-s3", "migrate")}}, "migrate pending"},
		{"two filters", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:snap-to-s3", "migrate"), filter("status", "completed")}}, "migrate"},
		{"two values", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("status", "pending", "completed")}, OwnerIds: self}, "migrate migrated pending"},
		{"wildcard", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:snap-to-s3", "migrat?d")}}, "migrated"},
		{"star", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:snap-to-s3", "migr*")}}, "migrate migrated pending"},
		{"case", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:snap-to-s3", "Migrate")}}, ""},
		{"tag key", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag-key", "snap-*")}}, "migrate migrated pending"},
		{"escaped", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag-key", `\*`)}}, "migrated"},
		{"volume", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("volume-id", "vol-11111111")}}, "migrate"},
		{"tier", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("storage-tier", "archive")}}, "migrated"},
		{"owner filter", ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("owner-id", "137112412989")}}, "public"},
	} {
		out, err := c.DescribeSnapshots(t.Context(), &tt.in)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		var got []string
		for _, snap := range out.Snapshots {
			got = append(got, names[*snap.SnapshotId])
			if names[*snap.SnapshotId] == "public" && len(snap.Tags) > 0 {
				t.Errorf("%s: tags of another account are shown", tt.name)
			}
		}
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, g, tt.want)
		}
	}
}

func TestForeignSnapshotByIDIsLeftOut(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id := addSnapshot(t, s, awssim.SnapshotSpec{OwnerID: "999999999999"})
	out, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}, OwnerIds: []string{"self"}})
	if err != nil || len(out.Snapshots) != 0 {
		t.Errorf("got %v, %v, want none", out, err)
	}
	_, err = c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{tag("a", "b")}})
	wantCode(t, err, "InvalidSnapshot.NotFound", id)
}

func TestSnapshotPaging(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	const n = 2500
	want, err := s.AddSnapshots(n, awssim.SnapshotSpec{SizeGiB: 1, Tags: map[string]string{"snap-to-s3": "migrate"}})
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Snapshots) != 1000 || first.NextToken == nil {
		t.Fatalf("without MaxResults: a page of %d, next %v", len(first.Snapshots), first.NextToken)
	}
	_, err = c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{NextToken: first.NextToken})
	wantCode(t, err, "InvalidParameterValue", "other parameters")
	var got []string
	sizes := map[int]int{}
	for p := ec2.NewDescribeSnapshotsPaginator(c, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, MaxResults: aws.Int32(700)}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sizes[len(out.Snapshots)]++
		for _, snap := range out.Snapshots {
			got = append(got, *snap.SnapshotId)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids over all pages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[int]int{700: 3, 400: 1}, sizes); diff != "" {
		t.Errorf("page sizes (-want +got):\n%s", diff)
	}
}

// The filter comes after the page: there are empty pages with a next one.
func TestFilteredPagesCanBeEmpty(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{EC2: awssim.EC2Config{PageSize: 5}})
	if _, err := s.AddSnapshots(12, awssim.SnapshotSpec{SizeGiB: 1}); err != nil {
		t.Fatal(err)
	}
	id := addSnapshot(t, s, awssim.SnapshotSpec{Tags: map[string]string{"snap-to-s3": "migrate"}})
	in := &ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:snap-to-s3", "migrate")}}
	out, err := c.DescribeSnapshots(t.Context(), in)
	if err != nil || len(out.Snapshots) != 0 || out.NextToken == nil {
		t.Fatalf("first page: %v, %v, want an empty one with a next", out, err)
	}
	var got []string
	for p := ec2.NewDescribeSnapshotsPaginator(c, in); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, snap := range out.Snapshots {
			got = append(got, *snap.SnapshotId)
		}
	}
	if diff := cmp.Diff([]string{id}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTenThousandSnapshots(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	ids, err := s.AddSnapshots(10000, awssim.SnapshotSpec{SizeGiB: 8})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for p := ec2.NewDescribeSnapshotsPaginator(c, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, snap := range out.Snapshots {
			seen[*snap.SnapshotId] = true
		}
	}
	if len(seen) != len(ids) || len(ids) != 10000 {
		t.Errorf("got %d of %d", len(seen), len(ids))
	}
}

func TestAddSnapshotRefuses(t *testing.T) {
	t.Parallel()
	s, _ := startEC2(t, awssim.Config{})
	disk := testDisk(t, 2<<20)
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	addSnapshot(t, s, awssim.SnapshotSpec{ID: "snap-00000001"})
	for name, tt := range map[string]struct {
		spec  awssim.SnapshotSpec
		words string
	}{
		"nothing":      {awssim.SnapshotSpec{}, "neither size nor image"},
		"no file":      {awssim.SnapshotSpec{Image: disk + "x"}, "no such file"},
		"folder":       {awssim.SnapshotSpec{Image: os.TempDir()}, "not a regular file"},
		"two images":   {awssim.SnapshotSpec{Image: disk, Reader: bytes.NewReader(nil)}, "both"},
		"no size":      {awssim.SnapshotSpec{Reader: bytes.NewReader(nil)}, "size"},
		"short reader": {awssim.SnapshotSpec{Reader: bytes.NewReader([]byte("x")), SizeBytes: 512}, "read the disk image"},
		"odd size":     {awssim.SnapshotSpec{SizeBytes: 1000}, "512"},
		"too small":    {awssim.SnapshotSpec{Image: disk, SizeBytes: 1 << 20}, "do not fit"},
		"too few GiB":  {awssim.SnapshotSpec{SizeBytes: 2 << 30, SizeGiB: 1}, "do not fit"},
		"id":           {awssim.SnapshotSpec{SizeGiB: 1, ID: "snap-1"}, "Malformed"},
		"taken":        {awssim.SnapshotSpec{SizeGiB: 1, ID: "snap-00000001"}, "taken"},
		"state":        {awssim.SnapshotSpec{SizeGiB: 1, State: "done"}, `"done"`},
		"description":  {awssim.SnapshotSpec{SizeGiB: 1, Description: strings.Repeat("é", 256)}, "255"},
		"control":      {awssim.SnapshotSpec{SizeGiB: 1, Description: "\x01"}, "XML"},
		"control tag":  {awssim.SnapshotSpec{SizeGiB: 1, Tags: map[string]string{"a": "\x01"}}, "XML"},
		"51 tags":      {awssim.SnapshotSpec{SizeGiB: 1, Tags: many}, "51 tags"},
	} {
		_, err := s.AddSnapshot(tt.spec)
		if err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.words)
		}
	}
	if _, err := s.AddSnapshots(2, awssim.SnapshotSpec{SizeGiB: 1, ID: "snap-00000002"}); err == nil {
		t.Error("two snapshots with one id")
	}
}

func TestRemoveSnapshot(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id, other := addSnapshot(t, s, awssim.SnapshotSpec{}), addSnapshot(t, s, awssim.SnapshotSpec{})
	if err := s.RemoveSnapshot(id); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveSnapshot(id); err == nil {
		t.Error("removed twice")
	}
	_, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	wantCode(t, err, "InvalidSnapshot.NotFound", id)
	out, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{})
	if err != nil || len(out.Snapshots) != 1 || *out.Snapshots[0].SnapshotId != other {
		t.Errorf("left: %v, %v", out, err)
	}
}

// 50 tags with every character that XML can carry survive the way there and back.
func TestTagsInAnyCharacters(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	want := map[string]string{}
	for i := range 50 {
		want[fmt.Sprintf("%d \t\r\n é😀<&>\"'\u0085\ufffd+%%=/ ", i)] = strings.Repeat("ß", 256)
	}
	id := addSnapshot(t, s, awssim.SnapshotSpec{Tags: want})
	out, err := c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, kv := range out.Snapshots[0].Tags {
		got[*kv.Key] = *kv.Value
	}
	if !maps.Equal(got, want) {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
}
