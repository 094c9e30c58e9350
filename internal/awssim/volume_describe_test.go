package awssim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

func TestDescribeVolumesFilters(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	add := func(spec awssim.VolumeSpec) string {
		t.Helper()
		id, err := s.AddVolume(spec)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if err := s.AddInstance("i-00000002", "us-east-1b"); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{
		add(awssim.VolumeSpec{SnapshotID: snap, Tags: map[string]string{"snap-to-s3": "kept"}, Type: "gp2"}):                               "kept",
		add(awssim.VolumeSpec{SizeGiB: 3, Zone: "us-east-1b"}):                                                                             "other zone",
		add(awssim.VolumeSpec{SnapshotID: snap, Zone: "us-east-1b", Instance: "i-00000002", Device: "/dev/sdf", Created: time.Unix(1, 0)}): "elsewhere",
	}
	for _, tt := range []struct {
		name    string
		filters []types.Filter
		want    string
	}{
		{"all", nil, "kept,other zone,elsewhere"},
		{"snapshot", []types.Filter{filter("snapshot-id", snap)}, "kept,elsewhere"},
		{"tag key", []types.Filter{filter("tag-key", "snap-to-s3")}, "kept"},
		{"tag", []types.Filter{filter("tag:snap-to-s3", "kep?")}, "kept"},
		{"zone", []types.Filter{filter("availability-zone", "us-east-1b")}, "other zone,elsewhere"},
		{"zone id", []types.Filter{filter("availability-zone-id", "use1-az2")}, "other zone,elsewhere"},
		{"status", []types.Filter{filter("status", "available")}, "kept,other zone"},
		{"instance", []types.Filter{filter("attachment.instance-id", "i-00000002")}, "elsewhere"},
		{"device", []types.Filter{filter("attachment.device", "/dev/sd*")}, "elsewhere"},
		{"attachment", []types.Filter{filter("attachment.status", "attached"), filter("attachment.delete-on-termination", "false")}, "elsewhere"},
		{"size", []types.Filter{filter("size", "3")}, "other zone"},
		{"type", []types.Filter{filter("volume-type", "gp2")}, "kept"},
		{"created", []types.Filter{filter("create-time", "1970-*")}, "elsewhere"},
		{"encrypted", []types.Filter{filter("encrypted", "true")}, ""},
	} {
		out, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: tt.filters})
		if err != nil {
			t.Fatal(tt.name, err)
		}
		var got []string
		for _, v := range out.Volumes {
			if name := names[*v.VolumeId]; name != "" { // not the root volume
				got = append(got, name)
			}
		}
		if g := strings.Join(got, ","); g != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, g, tt.want)
		}
	}
	_, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{filter("state", "x")}})
	wantCode(t, err, "InvalidParameterValue", "'state'")
}

func TestDescribeVolumesPagesAndStatus(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	want := map[string]bool{}
	for range 7 {
		id, err := s.AddVolume(awssim.VolumeSpec{SizeGiB: 1})
		if err != nil {
			t.Fatal(err)
		}
		want[id] = true
	}
	pages := 0
	got := map[string]bool{}
	for p := ec2.NewDescribeVolumesPaginator(c, &ec2.DescribeVolumesInput{MaxResults: aws.Int32(5)}); p.HasMorePages(); pages++ {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range out.Volumes {
			if want[*v.VolumeId] {
				got[*v.VolumeId] = true
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 2 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
	for id := range want {
		_, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}, MaxResults: aws.Int32(5)})
		wantCode(t, err, "InvalidParameterCombination", "VolumeId")
		_, err = c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id, "vol-1"}})
		wantCode(t, err, "InvalidVolumeID.Malformed", "vol-1")
		out, err := c.DescribeVolumeStatus(t.Context(), &ec2.DescribeVolumeStatusInput{VolumeIds: []string{id}})
		if err != nil || len(out.VolumeStatuses) != 1 || out.VolumeStatuses[0].VolumeStatus.Status != "ok" {
			t.Errorf("status: %v, %v", out, err)
		}
		break
	}
}
