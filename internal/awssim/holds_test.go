package awssim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/awssim"
)

func TestDescribeImages(t *testing.T) {
	s, c := startEC2(t, awssim.Config{})
	snaps, err := s.AddSnapshots(3, awssim.SnapshotSpec{SizeGiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	add := func(spec awssim.ImageSpec) string {
		t.Helper()
		id, err := s.AddMachineImage(spec)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	one := add(awssim.ImageSpec{Snapshots: snaps[:2], Tags: map[string]string{"k": "v"}})
	disabled := add(awssim.ImageSpec{Snapshots: snaps[1:2], Disabled: true})
	public := add(awssim.ImageSpec{Snapshots: snaps[:1], OwnerID: "137112412989", Name: "amazon's"})
	var more []string
	for range 7 {
		more = append(more, add(awssim.ImageSpec{Snapshots: snaps[2:]}))
	}
	by := func(name string, values ...string) []types.Filter {
		return []types.Filter{{Name: &name, Values: values}}
	}
	for name, in := range map[string]struct {
		in   ec2.DescribeImagesInput
		want []string
	}{
		"all":            {ec2.DescribeImagesInput{}, append([]string{one, public}, more...)},
		"own":            {ec2.DescribeImagesInput{Owners: []string{"self"}}, append([]string{one}, more...)},
		"amazon's":       {ec2.DescribeImagesInput{Owners: []string{"amazon"}}, []string{public}},
		"by id":          {ec2.DescribeImagesInput{ImageIds: []string{one}}, []string{one}},
		"disabled":       {ec2.DescribeImagesInput{IncludeDisabled: aws.Bool(true), Filters: by("state", "disabled")}, []string{disabled}},
		"by snapshot":    {ec2.DescribeImagesInput{Filters: by("block-device-mapping.snapshot-id", snaps[0], "snap-00000000")}, []string{one, public}},
		"by the second":  {ec2.DescribeImagesInput{IncludeDisabled: aws.Bool(true), Filters: by("block-device-mapping.snapshot-id", snaps[1])}, []string{one, disabled}},
		"by tag":         {ec2.DescribeImagesInput{Filters: by("tag:k", "v")}, []string{one}},
		"by name":        {ec2.DescribeImagesInput{Filters: by("name", "amazon*")}, []string{public}},
		"by owner":       {ec2.DescribeImagesInput{Filters: by("owner-id", "137112412989")}, []string{public}},
		"by device":      {ec2.DescribeImagesInput{Filters: by("block-device-mapping.device-name", "/dev/sdb")}, []string{one}},
		"by id, filter":  {ec2.DescribeImagesInput{Filters: by("image-id", more[0])}, []string{more[0]}},
		"public":         {ec2.DescribeImagesInput{Filters: by("is-public", "true")}, []string{public}},
		"machine images": {ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: by("image-type", "machine")}, append([]string{one}, more...)},
		"of instances":   {ec2.DescribeImagesInput{Filters: by("root-device-type", "instance-store")}, nil},
	} {
		if in.in.ImageIds == nil {
			in.in.MaxResults = aws.Int32(5)
		}
		var got []string
		pages := ec2.NewDescribeImagesPaginator(c, &in.in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, i := range page.Images {
				got = append(got, *i.ImageId)
			}
		}
		if !slices.Equal(got, in.want) {
			t.Errorf("%s: %q, want %q", name, got, in.want)
		}
	}
	out, err := c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{one}})
	if err != nil || len(out.Images[0].BlockDeviceMappings) != 3 || *out.Images[0].BlockDeviceMappings[1].Ebs.SnapshotId != snaps[1] ||
		out.Images[0].BlockDeviceMappings[2].Ebs != nil || out.Images[0].State != types.ImageStateAvailable {
		t.Errorf("image %+v, %v", out, err)
	}
}

func TestDescribeImagesRefusals(t *testing.T) {
	s, c := startEC2(t, awssim.Config{})
	var many []string
	for n := range 201 {
		many = append(many, fmt.Sprintf("snap-%08x", n))
	}
	for want, in := range map[string]*ec2.DescribeImagesInput{
		"InvalidAMIID.NotFound":       {ImageIds: []string{"ami-00000000"}},
		"InvalidAMIID.Malformed":      {ImageIds: []string{"ami-0"}},
		"InvalidParameterValue":       {Filters: []types.Filter{{Name: aws.String("architecture"), Values: []string{"arm64"}}}},
		"InvalidParameterCombination": {ImageIds: []string{"ami-00000000"}, MaxResults: aws.Int32(5)},
		"FilterLimitExceeded":         {Filters: []types.Filter{{Name: aws.String("block-device-mapping.snapshot-id"), Values: many}}},
	} {
		if _, err := c.DescribeImages(t.Context(), in); code(err) != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	s.SetPolicy([]string{"ec2:DescribeVolumes"})
	if _, err := c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{}); code(err) != "UnauthorizedOperation" || !strings.Contains(err.Error(), "ec2:DescribeImages") {
		t.Errorf("error %v", err)
	}
	if _, err := c.DescribeLockedSnapshots(t.Context(), &ec2.DescribeLockedSnapshotsInput{}); code(err) != "UnauthorizedOperation" {
		t.Errorf("error %v", err)
	}
	if _, err := s.AddMachineImage(awssim.ImageSpec{Snapshots: []string{"vol-1"}}); err == nil {
		t.Error("an image of a volume is no error")
	}
	if _, err := s.AddMachineImage(awssim.ImageSpec{ID: "ami-"}); err == nil {
		t.Error("an id without digits is no error")
	}
}

func TestLockedSnapshots(t *testing.T) {
	s, c := startEC2(t, awssim.Config{EC2: awssim.EC2Config{PageSize: 5}})
	ids, err := s.AddSnapshots(14, awssim.SnapshotSpec{SizeGiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	lock := func(id string, l awssim.SnapshotLock) {
		t.Helper()
		if err := s.LockSnapshot(id, l); err != nil {
			t.Fatal(err)
		}
	}
	lock(ids[0], awssim.SnapshotLock{Duration: 2 * day})
	lock(ids[1], awssim.SnapshotLock{Mode: "compliance", Duration: 30 * day, CoolOff: 48 * time.Hour})
	for _, id := range ids[2:12] {
		lock(id, awssim.SnapshotLock{})
	}
	look := func(in ec2.DescribeLockedSnapshotsInput) (states []string) {
		t.Helper()
		for {
			out, err := c.DescribeLockedSnapshots(t.Context(), &in)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range out.Snapshots {
				states = append(states, fmt.Sprintf("%s %s", *l.SnapshotId, l.LockState))
			}
			if out.NextToken == nil {
				return states
			}
			in.NextToken = out.NextToken
		}
	}
	all := look(ec2.DescribeLockedSnapshotsInput{MaxResults: aws.Int32(5)})
	if len(all) != 12 {
		t.Errorf("%d locks, want 12: %q", len(all), all)
	}
	some := look(ec2.DescribeLockedSnapshotsInput{SnapshotIds: []string{ids[13], ids[5]}})
	if !slices.Equal(some, []string{ids[5] + " governance"}) {
		t.Errorf("locks %q", some)
	}
	if none := look(ec2.DescribeLockedSnapshotsInput{Filters: []types.Filter{{Name: aws.String("lock-state"), Values: []string{"no such state"}}}}); len(none) > 0 {
		t.Errorf("locks %q", none)
	}
	if _, err := c.DescribeLockedSnapshots(t.Context(), &ec2.DescribeLockedSnapshotsInput{SnapshotIds: []string{"snap-00000000"}}); code(err) != "InvalidSnapshot.NotFound" {
		t.Errorf("error %v", err)
	}
	for _, l := range []awssim.SnapshotLock{
		{Mode: "other"}, {Duration: time.Hour}, {Duration: 36501 * day}, {CoolOff: time.Hour}, {Mode: "compliance", CoolOff: 73 * time.Hour}, {Mode: "compliance", CoolOff: time.Minute},
	} {
		if err := s.LockSnapshot(ids[13], l); err == nil {
			t.Errorf("lock %+v is no error", l)
		}
	}
	if err := s.LockSnapshot("snap-00000000", awssim.SnapshotLock{}); err == nil {
		t.Error("a lock of nothing is no error")
	}
}

// A lock's state is a matter of time.
func TestLockStates(t *testing.T) {
	s, c := startEC2(t, awssim.Config{})
	const day = 24 * time.Hour
	for state, l := range map[string]awssim.SnapshotLock{
		"governance":         {Created: time.Now().Add(-day), Duration: 2 * day},
		"compliance":         {Mode: "compliance", Created: time.Now().Add(-day), Duration: 2 * day, CoolOff: time.Hour},
		"compliance-cooloff": {Mode: "compliance", Created: time.Now().Add(-time.Hour), Duration: 2 * day, CoolOff: 2 * time.Hour},
		"expired":            {Mode: "compliance", Created: time.Now().Add(-3 * day), Duration: 2 * day},
	} {
		id, err := s.AddSnapshot(awssim.SnapshotSpec{SizeGiB: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.LockSnapshot(id, l); err != nil {
			t.Fatal(err)
		}
		out, err := c.DescribeLockedSnapshots(t.Context(), &ec2.DescribeLockedSnapshotsInput{SnapshotIds: []string{id}})
		if err != nil || len(out.Snapshots) != 1 || string(out.Snapshots[0].LockState) != state || *out.Snapshots[0].LockDuration != 2 ||
			out.Snapshots[0].LockExpiresOn.Sub(*out.Snapshots[0].LockCreatedOn) != 2*day {
			t.Errorf("%s: %+v, %v", state, out, err)
		}
	}
}
