package awssim_test

import (
	"io"
	"os"
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

func TestVolumeLife(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{SizeBytes: 1 << 20, SizeGiB: 5, Encrypted: true, KMSKeyID: "alias/mine"})
	out, err := c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{
		SnapshotId: &snap, AvailabilityZone: aws.String("us-east-1a"), VolumeType: types.VolumeTypeGp3, Throughput: aws.Int32(500),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{tag("Name", "Temp"), tag("a", "b")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.State != types.VolumeStateCreating {
		t.Errorf("a new volume is %s", out.State)
	}
	var got types.Volume
	waitFor(t, func() bool { got = describeOne(t, c, *out.VolumeId); return got.State != types.VolumeStateCreating })
	want := types.Volume{
		VolumeId: out.VolumeId, SnapshotId: &snap, State: types.VolumeStateAvailable, Size: aws.Int32(5), VolumeType: types.VolumeTypeGp3,
		AvailabilityZone: aws.String("us-east-1a"), AvailabilityZoneId: aws.String("use1-az1"), Iops: aws.Int32(3000), Throughput: aws.Int32(500),
		Encrypted: aws.Bool(true), KmsKeyId: aws.String("arn:aws:kms:us-east-1:111122223333:alias/mine"), MultiAttachEnabled: aws.Bool(false),
		CreateTime: out.CreateTime, Tags: []types.Tag{tag("Name", "Temp"), tag("a", "b")}, Attachments: []types.VolumeAttachment{},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.Volume{}, types.Tag{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("volume (-want +got):\n%s", diff)
	}
	if age := time.Since(*out.CreateTime); age < -time.Second || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
	deleteVolume(t, c, *out.VolumeId)
	if v := describeOne(t, c, *out.VolumeId); v.State != types.VolumeStateDeleting {
		t.Errorf("a deleted volume is %s", v.State)
	}
	_, err = c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*out.VolumeId}})
	wantCode(t, err, "InvalidVolume.NotFound", *out.VolumeId)
	_, err = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: out.VolumeId})
	wantCode(t, err, "InvalidVolume.NotFound", *out.VolumeId)
}

func TestCreateVolumeRefuses(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	small := addSnapshot(t, s, awssim.SnapshotSpec{SizeGiB: 2})
	large := addSnapshot(t, s, awssim.SnapshotSpec{SizeGiB: 20000})
	pending := addSnapshot(t, s, awssim.SnapshotSpec{SizeGiB: 1, State: "pending"})
	archived := addSnapshot(t, s, awssim.SnapshotSpec{SizeGiB: 1, Archived: true})
	secret := addSnapshot(t, s, awssim.SnapshotSpec{SizeGiB: 1, Encrypted: true})
	zone := aws.String("us-east-1a")
	type in = ec2.CreateVolumeInput
	for name, tt := range map[string]struct {
		in          in
		code, words string
	}{
		"no zone":             {in{SnapshotId: &small}, "MissingParameter", "AvailabilityZone"},
		"two zones":           {in{SnapshotId: &small, AvailabilityZone: zone, AvailabilityZoneId: aws.String("use1-az1")}, "InvalidParameterCombination", "AvailabilityZoneId"},
		"other region":        {in{SnapshotId: &small, AvailabilityZone: aws.String("us-west-2a")}, "InvalidZone.NotFound", "us-west-2a"},
		"no zone of region":   {in{SnapshotId: &small, AvailabilityZone: aws.String("us-east-1z")}, "InvalidZone.NotFound", "us-east-1z"},
		"nothing":             {in{AvailabilityZone: zone}, "MissingParameter", "size"},
		"unknown snapshot":    {in{SnapshotId: aws.String("snap-00000000"), AvailabilityZone: zone}, "InvalidSnapshot.NotFound", "snap-00000000"},
		"malformed":           {in{SnapshotId: aws.String("snap-0"), AvailabilityZone: zone}, "InvalidSnapshotID.Malformed", "snap-0"},
		"pending":             {in{SnapshotId: &pending, AvailabilityZone: zone}, "IncorrectState", "pending"},
		"archived":            {in{SnapshotId: &archived, AvailabilityZone: zone}, "IncorrectState", "archive"},
		"smaller":             {in{SnapshotId: &small, Size: aws.Int32(1), AvailabilityZone: zone}, "InvalidParameterValue", "expect size >= 2GB"},
		"zero":                {in{SnapshotId: &small, Size: aws.Int32(0), AvailabilityZone: zone}, "InvalidParameterValue", "too small"},
		"unknown type":        {in{SnapshotId: &small, VolumeType: "gp9", AvailabilityZone: zone}, "UnknownVolumeType", "gp9"},
		"default type is gp2": {in{SnapshotId: &large, AvailabilityZone: zone}, "InvalidParameterValue", "20000GiB is too large for volume type gp2; maximum is 16384GiB"},
		"standard":            {in{SnapshotId: &large, VolumeType: "standard", AvailabilityZone: zone}, "InvalidParameterValue", "maximum is 1024GiB"},
		"st1":                 {in{SnapshotId: &small, VolumeType: "st1", AvailabilityZone: zone}, "InvalidParameterValue", "minimum is 125GiB"},
		"io1 size":            {in{SnapshotId: &small, VolumeType: "io1", Iops: aws.Int32(100), AvailabilityZone: zone}, "InvalidParameterValue", "minimum is 4GiB"},
		"io1 without iops":    {in{Size: aws.Int32(4), VolumeType: "io1", AvailabilityZone: zone}, "MissingParameter", "iops"},
		"io1 ratio":           {in{Size: aws.Int32(4), VolumeType: "io1", Iops: aws.Int32(201), AvailabilityZone: zone}, "InvalidParameterValue", "50.250000 is too high; maximum is 50"},
		"io2 ratio":           {in{Size: aws.Int32(4), VolumeType: "io2", Iops: aws.Int32(4001), AvailabilityZone: zone}, "InvalidParameterValue", "maximum is 1000"},
		"io2 few":             {in{Size: aws.Int32(4), VolumeType: "io2", Iops: aws.Int32(99), AvailabilityZone: zone}, "InvalidParameterValue", "minimum is 100"},
		"gp3 ratio":           {in{Size: aws.Int32(6), VolumeType: "gp3", Iops: aws.Int32(3001), AvailabilityZone: zone}, "InvalidParameterValue", "maximum is 500"},
		"gp3 many":            {in{Size: aws.Int32(600), VolumeType: "gp3", Iops: aws.Int32(80001), AvailabilityZone: zone}, "InvalidParameterValue", "maximum is 80000"},
		"gp3 throughput":      {in{Size: aws.Int32(6), VolumeType: "gp3", Throughput: aws.Int32(124), AvailabilityZone: zone}, "InvalidParameterValue", "between 125 and 2000"},
		"gp3 throughput/iops": {in{Size: aws.Int32(6), VolumeType: "gp3", Throughput: aws.Int32(1000), AvailabilityZone: zone}, "InvalidParameterValue", "0.250000"},
		"gp2 iops":            {in{Size: aws.Int32(6), Iops: aws.Int32(300), AvailabilityZone: zone}, "InvalidParameterCombination", "iops is not supported for gp2"},
		"gp2 throughput":      {in{Size: aws.Int32(6), Throughput: aws.Int32(300), AvailabilityZone: zone}, "InvalidParameterCombination", "throughput is not supported for gp2"},
		"init rate":           {in{SnapshotId: &small, VolumeInitializationRate: aws.Int32(99), AvailabilityZone: zone}, "InvalidParameterValue", "100 and 300"},
		"init rate, empty":    {in{Size: aws.Int32(1), VolumeInitializationRate: aws.Int32(100), AvailabilityZone: zone}, "InvalidParameterCombination", "snapshots"},
		"multi-attach":        {in{Size: aws.Int32(1), MultiAttachEnabled: aws.Bool(true), AvailabilityZone: zone}, "InvalidParameterCombination", "multiAttachEnabled"},
		"key, not encrypted":  {in{Size: aws.Int32(1), KmsKeyId: aws.String("x"), AvailabilityZone: zone}, "InvalidParameterDependency", "KmsKeyId"},
		"decrypted":           {in{SnapshotId: &secret, Encrypted: aws.Bool(false), AvailabilityZone: zone}, "InvalidParameterCombination", "unencrypted"},
		"tags of an instance": {in{Size: aws.Int32(1), AvailabilityZone: zone, TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{tag("a", "")}}}}, "InvalidParameterValue", "'instance'"},
		"reserved tag":        {in{Size: aws.Int32(1), AvailabilityZone: zone, TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{tag("aws:a", "")}}}}, "InvalidParameterValue", "reserved"},
		"long token":          {in{Size: aws.Int32(1), AvailabilityZone: zone, ClientToken: aws.String(strings.Repeat("x", 65))}, "InvalidParameterValue", "64"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.CreateVolume(t.Context(), &tt.in)
			wantCode(t, err, tt.code, tt.words)
		})
	}
	if got := s.Volumes(); len(got) != 0 {
		t.Errorf("refused calls made %v", got)
	}
}

func TestVolumeTypesThatFit(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	zone := aws.String("us-east-1b")
	type in = ec2.CreateVolumeInput
	for name, tt := range map[string]struct {
		in         in
		iops, mibs int64
	}{
		"gp2":                {in{Size: aws.Int32(16384), AvailabilityZone: zone}, 16000, 0},
		"gp3":                {in{Size: aws.Int32(65536), VolumeType: "gp3", AvailabilityZone: zone}, 3000, 125},
		"gp3, small, iops":   {in{Size: aws.Int32(1), VolumeType: "gp3", Iops: aws.Int32(3000), AvailabilityZone: zone}, 3000, 125},
		"gp3, fast":          {in{Size: aws.Int32(160), VolumeType: "gp3", Iops: aws.Int32(80000), Throughput: aws.Int32(2000), AvailabilityZone: zone}, 80000, 2000},
		"io1":                {in{Size: aws.Int32(4), VolumeType: "io1", Iops: aws.Int32(200), AvailabilityZone: zone}, 200, 0},
		"io2":                {in{Size: aws.Int32(65536), VolumeType: "io2", Iops: aws.Int32(256000), AvailabilityZone: zone}, 256000, 0},
		"st1":                {in{Size: aws.Int32(125), VolumeType: "st1", AvailabilityZone: zone}, 0, 0},
		"standard":           {in{Size: aws.Int32(1024), VolumeType: "standard", AvailabilityZone: zone}, 0, 0},
		"by the zone's id":   {in{Size: aws.Int32(1), AvailabilityZoneId: aws.String("use1-az3")}, 100, 0},
		"encrypted, default": {in{Size: aws.Int32(1), AvailabilityZone: zone, Encrypted: aws.Bool(true)}, 100, 0},
	} {
		out, err := c.CreateVolume(t.Context(), &tt.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if int64(aws.ToInt32(out.Iops)) != tt.iops || int64(aws.ToInt32(out.Throughput)) != tt.mibs {
			t.Errorf("%s: %d IOPS, %d MiB/s, want %d, %d", name, aws.ToInt32(out.Iops), aws.ToInt32(out.Throughput), tt.iops, tt.mibs)
		}
		if tt.in.Encrypted != nil && !strings.HasSuffix(aws.ToString(out.KmsKeyId), "alias/aws/ebs") {
			t.Errorf("%s: key %v", name, out.KmsKeyId)
		}
	}
	for _, v := range s.Volumes() {
		waitFor(t, func() bool { return describeOne(t, c, v.ID).State == types.VolumeStateAvailable })
		deleteVolume(t, c, v.ID)
	}
}

func TestClientToken(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	in := ec2.CreateVolumeInput{SnapshotId: &snap, AvailabilityZone: aws.String("us-east-1a"), ClientToken: aws.String("token")}
	first, err := c.CreateVolume(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.CreateVolume(t.Context(), &in)
	if err != nil || *again.VolumeId != *first.VolumeId {
		t.Errorf("the same token gives %v, %v, want %s", again, err, *first.VolumeId)
	}
	other := in
	other.VolumeType = types.VolumeTypeGp3
	_, err = c.CreateVolume(t.Context(), &other)
	wantCode(t, err, "IdempotentParameterMismatch", "")
	other.ClientToken = aws.String("token2")
	second, err := c.CreateVolume(t.Context(), &other)
	if err != nil || *second.VolumeId == *first.VolumeId {
		t.Errorf("another token gives %v, %v", second, err)
	}
	if got := s.Volumes(); len(got) != 2 || got[0].Token != "token" {
		t.Errorf("volumes %+v", got)
	}
	for _, id := range []string{*first.VolumeId, *second.VolumeId} {
		waitFor(t, func() bool { return describeOne(t, c, id).State == types.VolumeStateAvailable })
		deleteVolume(t, c, id)
	}
}

func TestVolumeLimit(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{EC2: awssim.EC2Config{MaxVolumes: 1}})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	id := availableVolume(t, c, snap)
	in := &ec2.CreateVolumeInput{SnapshotId: &snap, AvailabilityZone: aws.String("us-east-1a")}
	_, err := c.CreateVolume(t.Context(), in)
	wantCode(t, err, "VolumeLimitExceeded", "1")
	s.SetEC2(awssim.EC2Config{})
	second := availableVolume(t, c, snap)
	deleteVolume(t, c, id)
	deleteVolume(t, c, second)
}

func TestCreateVolumeWithTagsNeedsTheRight(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	s.SetPolicy([]string{"ec2:CreateVolume"})
	_, err := c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{
		Size: aws.Int32(1), AvailabilityZone: aws.String("us-east-1a"),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{tag("a", "b")}}},
	})
	wantCode(t, err, "UnauthorizedOperation", "ec2:CreateTags")
	if got := s.Volumes(); len(got) != 0 {
		t.Errorf("made %v", got)
	}
}

func TestDeniedKey(t *testing.T) {
	t.Parallel()
	key := "1234abcd-12ab-34cd-56ef-1234567890ab"
	for _, fate := range []awssim.VolumeFate{awssim.VolumeFails, awssim.VolumeVanishes} {
		s, c := startEC2(t, awssim.Config{EC2: awssim.EC2Config{DeniedKeys: map[string]awssim.VolumeFate{key: fate}}})
		fine := addSnapshot(t, s, awssim.SnapshotSpec{Encrypted: true})
		deleteVolume(t, c, availableVolume(t, c, fine))
		id := createVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{Encrypted: true, KMSKeyID: key}))
		in := &ec2.DescribeVolumesInput{VolumeIds: []string{id}}
		var err error
		var out *ec2.DescribeVolumesOutput
		waitFor(t, func() bool {
			out, err = c.DescribeVolumes(t.Context(), in)
			return err != nil || out.Volumes[0].State != types.VolumeStateCreating
		})
		if fate == awssim.VolumeVanishes {
			wantCode(t, err, "InvalidVolume.NotFound", id)
			continue
		}
		if err != nil || out.Volumes[0].State != types.VolumeStateError {
			t.Errorf("got %v, %v, want state error", out, err)
		}
		_, err = c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: aws.String(instanceID), Device: aws.String("/dev/sdf")})
		wantCode(t, err, "IncorrectState", id)
		deleteVolume(t, c, id)
	}
}

func TestNewVolumeIsFoundLate(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{EC2: awssim.EC2Config{NewVolume: awssim.Lag{Reads: 2}, Creating: awssim.Lag{Reads: -1}}})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	id := createVolume(t, c, snap)
	all, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{filter("snapshot-id", snap)}})
	if err != nil || len(all.Volumes) != 0 {
		t.Errorf("first look: %v, %v", all, err)
	}
	_, err = c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{tag("a", "b")}})
	wantCode(t, err, "InvalidVolume.NotFound", id)
	waitFor(t, func() bool { return describeOne(t, c, id).State == types.VolumeStateAvailable })
	deleteVolume(t, c, id)
}

func TestStuckInCreating(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "creating"}})
	id := createVolume(t, c, snap)
	for range 20 {
		if got := describeOne(t, c, id).State; got != types.VolumeStateCreating {
			t.Fatalf("it is %s", got)
		}
	}
	_, err := c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &id})
	wantCode(t, err, "IncorrectState", "creating")
	s.SetVolumeFault(id, awssim.VolumeFault{}) // the volume's own word counts more than its snapshot's
	waitFor(t, func() bool { return describeOne(t, c, id).State == types.VolumeStateAvailable })
	deleteVolume(t, c, id)
}

func TestCreatingTakesTime(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{EC2: awssim.EC2Config{Creating: awssim.Lag{For: 50 * time.Millisecond}}})
	begin := time.Now()
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{}))
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("available after %v", took)
	}
	deleteVolume(t, c, id)
}

func TestVolumeLeftBehind(t *testing.T) {
	t.Parallel()
	s, c := startMessy(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	id := availableVolume(t, c, snap)
	if err := s.Close(); err == nil || err.Error() != "left behind: volume "+id+" of "+snap+" (available)" {
		t.Errorf("close: %v", err)
	}
}

// Each volume has the snapshot's content, and writes stay with it.
func TestVolumeImages(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	const size = 3<<20 + 512
	disk := testDisk(t, size, 0, 700<<10, size-512)
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zeros := make([]byte, 1<<20)
	for name, tt := range map[string]struct {
		spec  awssim.SnapshotSpec
		bytes []byte
		size  int64
	}{
		"image":          {awssim.SnapshotSpec{Image: disk}, want, 1 << 30},
		"reader, exact":  {awssim.SnapshotSpec{Reader: file, SizeBytes: size}, want, size},
		"zeros":          {awssim.SnapshotSpec{SizeBytes: 1 << 20}, zeros, 1 << 20},
		"larger than it": {awssim.SnapshotSpec{Image: disk, SizeBytes: 4 << 20, SizeGiB: 7}, want, 4 << 20},
	} {
		snap := addSnapshot(t, s, tt.spec)
		first, second := availableVolume(t, c, snap), availableVolume(t, c, snap)
		images := map[string]string{}
		for _, v := range s.Volumes() {
			images[v.ID] = v.Image
		}
		if err := os.WriteFile(images[first], []byte("scribble"), 0); err != nil {
			t.Fatal(err)
		}
		got, rest := readHead(t, images[second], len(tt.bytes))
		if string(got) != string(tt.bytes) || int64(len(got))+rest != tt.size {
			t.Errorf("%s: %d bytes, same content: %t, want %d", name, int64(len(got))+rest, string(got) == string(tt.bytes), tt.size)
		}
		deleteVolume(t, c, first)
		deleteVolume(t, c, second)
		if _, err := os.Stat(images[first]); err == nil {
			describeOne(t, c, first)
			_, _ = c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
			if _, err := os.Stat(images[first]); err == nil {
				t.Errorf("%s: the image of a deleted volume stays", name)
			}
		}
	}
}

func readHead(t *testing.T, path string, n int) (head []byte, rest int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head = make([]byte, n)
	if _, err := io.ReadFull(f, head); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return head, info.Size() - int64(n)
}

// A larger volume than its snapshot is zero behind it; missing blocks of an
// encrypted one are noise where that was asked for.
func TestVolumeLargerThanSnapshotAndNoise(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	disk := testDisk(t, 2<<20, 600<<10)
	snap := addSnapshot(t, s, awssim.SnapshotSpec{Image: disk, SizeBytes: 2<<20 + 512, SizeGiB: 1, Encrypted: true, AbsentNoise: true})
	out, err := c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{SnapshotId: &snap, Size: aws.Int32(2), AvailabilityZone: aws.String("us-east-1a")})
	if err != nil {
		t.Fatal(err)
	}
	larger := *out.VolumeId
	s.SetVolumeFault(larger, awssim.VolumeFault{Stuck: "creating"})
	exact := availableVolume(t, c, snap)
	var image string
	for _, v := range s.Volumes() {
		if v.ID == exact {
			image = v.Image
		}
		if v.ID == larger && v.SizeGiB != 2 {
			t.Errorf("%d GiB, want 2", v.SizeGiB)
		}
	}
	got, rest := readHead(t, image, 2<<20+512)
	if rest != 0 {
		t.Errorf("%d bytes more than the device has", rest)
	}
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	for block := range 5 {
		from, to := block<<19, min((block+1)<<19, len(got))
		same := from < len(want) && string(got[from:to]) == string(want[from:to])
		if same != (block == 1) {
			t.Errorf("block %d is like the image: %t", block, same)
		}
	}
	s.SetVolumeFault(larger, awssim.VolumeFault{})
	for _, id := range []string{exact, larger} {
		waitFor(t, func() bool { return describeOne(t, c, id).State == types.VolumeStateAvailable })
		deleteVolume(t, c, id)
	}
}
