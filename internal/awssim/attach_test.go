package awssim_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

func attachInput(id, device string) *ec2.AttachVolumeInput {
	return &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: aws.String(instanceID), Device: &device}
}

// volumeInfo is what the server says of a volume.
func volumeInfo(t *testing.T, s *awssim.Server, id string) awssim.VolumeInfo {
	t.Helper()
	for _, v := range s.Volumes() {
		if v.ID == id {
			return v
		}
	}
	t.Fatalf("there is no volume %s", id)
	return awssim.VolumeInfo{}
}

func TestAttachAndDetach(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	disk := testDisk(t, 1<<20, 0, 512<<10)
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{Image: disk, SizeBytes: 1 << 20}))
	out, err := c.AttachVolume(t.Context(), attachInput(id, "/dev/sdf"))
	if err != nil {
		t.Fatal(err)
	}
	if out.State != types.VolumeAttachmentStateAttaching || *out.Device != "/dev/sdf" || *out.InstanceId != instanceID || *out.VolumeId != id || out.AttachTime == nil {
		t.Errorf("attach: %+v", out)
	}
	_, err = c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &id})
	wantCode(t, err, "IncorrectState", "attaching")
	untilState(t, c, id, "in-use", "attached")
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	node := volumeInfo(t, s, id).Node
	if got, err := os.ReadFile(node); err != nil || string(got) != string(want) {
		t.Errorf("the device is not the disk: %v", err)
	}
	_, err = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &id})
	wantCode(t, err, "VolumeInUse", "attached")
	gone, err := c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &id, InstanceId: aws.String(instanceID), Device: aws.String("/dev/sdf")})
	if err != nil || gone.State != types.VolumeAttachmentStateDetaching {
		t.Errorf("detach: %+v, %v", gone, err)
	}
	_, err = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &id})
	wantCode(t, err, "VolumeInUse", "attached")
	untilState(t, c, id, "in-use", "detaching")
	untilState(t, c, id, "available", "")
	if _, err := os.Lstat(node); err == nil {
		t.Error("the device stays after the detach")
	}
	_, err = c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &id})
	wantCode(t, err, "IncorrectState", "available")
	// Again: its content is still there.
	attachVolume(t, c, id, "/dev/sdg")
	if got, err := os.ReadFile(volumeInfo(t, s, id).Node); err != nil || string(got) != string(want) {
		t.Errorf("attached again it is another disk: %v", err)
	}
	removeVolume(t, c, id)
}

func TestAttachRefuses(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	if err := s.AddInstance("i-00000002", "us-east-1b"); err != nil {
		t.Fatal(err)
	}
	here, there := availableVolume(t, c, snap), availableVolume(t, c, snap)
	attachVolume(t, c, here, "/dev/sdf")
	for name, tt := range map[string]struct {
		in          *ec2.AttachVolumeInput
		code, words string
	}{
		"attached":         {attachInput(here, "/dev/sdg"), "VolumeInUse", here + " is already attached"},
		"device taken":     {attachInput(there, "/dev/sdf"), "InvalidParameterValue", "/dev/sdf is already in use"},
		"same as xvd":      {attachInput(there, "/dev/xvdf"), "InvalidParameterValue", "/dev/xvdf is already in use"},
		"root":             {attachInput(there, "/dev/xvda"), "InvalidParameterValue", "is already in use"},
		"root partition":   {attachInput(there, "/dev/sda1"), "InvalidParameterValue", "is already in use"},
		"no device":        {attachInput(there, "/dev/foo"), "InvalidParameterValue", "not a valid EBS device name"},
		"nvme name":        {attachInput(there, "/dev/nvme1n1"), "InvalidParameterValue", "not a valid EBS device name"},
		"no volume":        {attachInput("vol-00000000", "/dev/sdg"), "InvalidVolume.NotFound", "vol-00000000"},
		"malformed volume": {attachInput("vol-", "/dev/sdg"), "InvalidVolumeID.Malformed", "vol-"},
		"no instance":      {&ec2.AttachVolumeInput{VolumeId: &there, Device: aws.String("/dev/sdg"), InstanceId: aws.String("i-00000009")}, "InvalidInstanceID.NotFound", "i-00000009"},
		"other zone":       {&ec2.AttachVolumeInput{VolumeId: &there, Device: aws.String("/dev/sdg"), InstanceId: aws.String("i-00000002")}, "InvalidVolume.ZoneMismatch", "i-00000002"},
	} {
		_, err := c.AttachVolume(t.Context(), tt.in)
		t.Run(name, func(t *testing.T) { wantCode(t, err, tt.code, tt.words) })
	}
	s.SetEC2(awssim.EC2Config{MaxAttachments: 1})
	_, err := c.AttachVolume(t.Context(), attachInput(there, "/dev/sdg"))
	wantCode(t, err, "AttachmentLimitExceeded", instanceID)
	for name, tt := range map[string]struct {
		in   ec2.DetachVolumeInput
		code string
	}{
		"other instance":   {ec2.DetachVolumeInput{VolumeId: &here, InstanceId: aws.String("i-00000002")}, "InvalidAttachment.NotFound"},
		"other device":     {ec2.DetachVolumeInput{VolumeId: &here, Device: aws.String("/dev/sdz")}, "InvalidAttachment.NotFound"},
		"unknown instance": {ec2.DetachVolumeInput{VolumeId: &here, InstanceId: aws.String("i-00000009")}, "InvalidInstanceID.NotFound"},
		"not attached":     {ec2.DetachVolumeInput{VolumeId: &there}, "IncorrectState"},
	} {
		_, err := c.DetachVolume(t.Context(), &tt.in)
		t.Run(name, func(t *testing.T) { wantCode(t, err, tt.code, "") })
	}
	creating := createVolume(t, c, snap)
	_, err = c.AttachVolume(t.Context(), attachInput(creating, "/dev/sdh"))
	wantCode(t, err, "IncorrectState", creating+" is not 'available'")
	waitFor(t, func() bool { return describeOne(t, c, creating).State == types.VolumeStateAvailable })
	for _, id := range []string{here, there, creating} {
		removeVolume(t, c, id)
	}
	if err := s.Invariants(); err != nil {
		t.Error(err)
	}
}

func TestRootVolume(t *testing.T) {
	t.Parallel()
	_, c := startEC2(t, awssim.Config{Naming: "xvd"})
	out, err := c.DescribeInstanceAttribute(t.Context(), &ec2.DescribeInstanceAttributeInput{
		InstanceId: aws.String(instanceID), Attribute: types.InstanceAttributeNameBlockDeviceMapping,
	})
	if err != nil || len(out.BlockDeviceMappings) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	root := out.BlockDeviceMappings[0]
	if *root.DeviceName != "/dev/xvda" || root.Ebs.Status != types.AttachmentStatusAttached {
		t.Errorf("root volume %+v", root)
	}
	_, err = c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: root.Ebs.VolumeId})
	wantCode(t, err, "OperationNotPermitted", "root volume")
	_, err = c.DescribeInstanceAttribute(t.Context(), &ec2.DescribeInstanceAttributeInput{
		InstanceId: aws.String(instanceID), Attribute: types.InstanceAttributeNameUserData,
	})
	wantCode(t, err, "UnsupportedOperation", "userData")
}

func TestInstanceShowsItsVolumes(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{}))
	attachVolume(t, c, id, "/dev/sdf")
	out, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{instanceID}})
	if err != nil || len(out.Reservations) != 1 || len(out.Reservations[0].Instances) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	i := out.Reservations[0].Instances[0]
	var got []string
	for _, d := range i.BlockDeviceMappings {
		got = append(got, *d.DeviceName+" "+string(d.Ebs.Status))
	}
	if diff := cmp.Diff([]string{"/dev/xvda attached", "/dev/sdf attached"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if *i.Placement.AvailabilityZone != "us-east-1a" || i.State.Name != types.InstanceStateNameRunning {
		t.Errorf("instance %+v %+v", i.Placement, i.State)
	}
	none, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("instance-state-name", "stopped")}})
	if err != nil || len(none.Reservations) != 0 {
		t.Errorf("stopped instances: %v, %v", none, err)
	}
	_, err = c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"i-00000009"}})
	wantCode(t, err, "InvalidInstanceID.NotFound", "i-00000009")
	removeVolume(t, c, id)
}

func TestXvdNaming(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, c := startEC2(t, awssim.Config{Dir: dir, Naming: "xvd"})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	a, b := availableVolume(t, c, snap), availableVolume(t, c, snap)
	attachVolume(t, c, a, "/dev/sdf")
	attachVolume(t, c, b, "/dev/xvdba")
	if diff := cmp.Diff([]string{"xvda", "xvdba", "xvdf"}, names(t, filepath.Join(dir, "dev"))); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "sys", "block")); err == nil {
		t.Error("an instance without NVMe shows NVMe devices")
	}
	removeVolume(t, c, a)
	removeVolume(t, c, b)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestNVMeNaming(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, c := startEC2(t, awssim.Config{Dir: dir})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	ids := map[string]string{}
	var order []string
	for _, letter := range []string{"f", "g", "h"} {
		id := availableVolume(t, c, snap)
		attachVolume(t, c, id, "/dev/sd"+letter)
		ids[letter] = id
		order = append(order, filepath.Base(volumeInfo(t, s, id).Node))
	}
	devices := names(t, filepath.Join(dir, "sys", "block"))
	if diff := cmp.Diff(devices, names(t, filepath.Join(dir, "dev"))); diff != "" || len(devices) != 5 {
		t.Errorf("%v: /sys and /dev differ:\n%s", devices, diff)
	}
	if order[0] < order[1] && order[1] < order[2] {
		t.Errorf("devices %v are in the order of the letters", order)
	}
	read := func(device, file string) string {
		text, err := os.ReadFile(filepath.Join(dir, "sys", "block", device, "device", file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := read("nvme1n1", "model"); strings.TrimSpace(got) != "Amazon EC2 NVMe Instance Storage" {
		t.Errorf("the second device is %q", got)
	}
	want := strings.Replace(ids["g"], "-", "", 1)
	if got := read(order[1], "serial"); got != want+"\n" || len(got) != 21 {
		t.Errorf("serial %q, want %q", got, want)
	}
	if got := read(order[1], "model"); got != "Amazon Elastic Block Store"+strings.Repeat(" ", 14)+"\n" {
		t.Errorf("model %q", got)
	}
	for _, id := range ids {
		removeVolume(t, c, id)
	}
	if got := names(t, filepath.Join(dir, "sys", "block")); len(got) != 2 {
		t.Errorf("after the detaches: %v", got)
	}
}

func TestStuckAttachments(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{}))
	force := &ec2.DetachVolumeInput{VolumeId: &id, Force: aws.Bool(true)}
	s.SetVolumeFault(id, awssim.VolumeFault{Stuck: "attaching"})
	if _, err := c.AttachVolume(t.Context(), attachInput(id, "/dev/sdf")); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		untilState(t, c, id, "in-use", "attaching")
	}
	if got := volumeInfo(t, s, id).Node; got != "" {
		t.Errorf("a volume stuck in attaching has device %s", got)
	}
	if _, err := c.DetachVolume(t.Context(), force); err != nil {
		t.Fatal(err)
	}
	untilState(t, c, id, "available", "")

	s.SetVolumeFault(id, awssim.VolumeFault{Stuck: "detaching"})
	attachVolume(t, c, id, "/dev/sdf")
	detachVolume(t, c, id)
	for range 10 {
		untilState(t, c, id, "in-use", "detaching")
	}
	detachVolume(t, c, id) // asked again, it still is on its way
	untilState(t, c, id, "in-use", "detaching")
	if _, err := c.DetachVolume(t.Context(), force); err != nil {
		t.Fatal(err)
	}
	untilState(t, c, id, "available", "")
	deleteVolume(t, c, id)
}

func TestLateAndMissingDevice(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	late, never, gone := availableVolume(t, c, snap), availableVolume(t, c, snap), availableVolume(t, c, snap)
	s.SetVolumeFault(late, awssim.VolumeFault{DeviceDelay: 30 * time.Millisecond})
	s.SetVolumeFault(never, awssim.VolumeFault{NoDevice: true})
	s.SetVolumeFault(gone, awssim.VolumeFault{DeviceDelay: time.Hour})
	begin := time.Now()
	attachVolume(t, c, late, "/dev/sdf")
	attachVolume(t, c, never, "/dev/sdg")
	attachVolume(t, c, gone, "/dev/sdh")
	waitFor(t, func() bool { return volumeInfo(t, s, late).Node != "" || time.Since(begin) > time.Minute })
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("it appears after %v", took)
	}
	for _, id := range []string{never, gone} {
		if node := volumeInfo(t, s, id).Node; node != "" {
			t.Errorf("%s has device %s", id, node)
		}
	}
	for _, id := range []string{late, never, gone} {
		removeVolume(t, c, id)
	}
}

// Without loop devices too a device that is open is not let go.
func TestHeldImageStaysDetaching(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{Image: testDisk(t, 1<<20, 0), SizeBytes: 1 << 20}))
	attachVolume(t, c, id, "/dev/sdf")
	info := volumeInfo(t, s, id)
	f, err := os.Open(info.Node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	detachVolume(t, c, id)
	for range 3 {
		untilState(t, c, id, "in-use", "detaching")
	}
	if _, err := os.Lstat(info.Node); err != nil {
		t.Errorf("the device of a held volume: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	untilState(t, c, id, "available", "")

	attachVolume(t, c, id, "/dev/sdf")
	if f, err = os.Open(info.Node); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &id, Force: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	untilState(t, c, id, "available", "")
	if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the holder still reads: %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	head, _ := readHead(t, info.Image, 512)
	if head[0] != 1 {
		t.Error("a forced detach lost the volume's data")
	}
	deleteVolume(t, c, id)
}

func TestHeldVolumeIsNamedAtClose(t *testing.T) {
	t.Parallel()
	s, c := startMessy(t, awssim.Config{})
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{}))
	attachVolume(t, c, id, "/dev/sdf")
	f, err := os.Open(volumeInfo(t, s, id).Node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	detachVolume(t, c, id)
	err = s.Close()
	if err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "detaching at "+instanceID+" as /dev/sdf, held by process") {
		t.Errorf("close: %v", err)
	}
}

func TestReadErrorWithoutLoop(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{
		Image: testDisk(t, 1<<20, 0), SizeBytes: 1 << 20, Fault: awssim.VolumeFault{ReadErrorAt: 64 << 10},
	})
	id := availableVolume(t, c, snap)
	attachVolume(t, c, id, "/dev/sdf")
	if got, err := os.ReadFile(volumeInfo(t, s, id).Node); err != nil || len(got) != 64<<10 {
		t.Errorf("%d bytes can be read, %v", len(got), err)
	}
	removeVolume(t, c, id)
}

func TestAddedVolumeIsNotLeftBehind(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	snap := addSnapshot(t, s, awssim.SnapshotSpec{})
	id, err := s.AddVolume(awssim.VolumeSpec{SnapshotID: snap, Instance: instanceID, Device: "/dev/sdf"})
	if err != nil {
		t.Fatal(err)
	}
	if v := describeOne(t, c, id); v.Attachments[0].State != types.VolumeAttachmentStateAttached {
		t.Errorf("it is %s", v.Attachments[0].State)
	}
	if _, err := os.Stat(volumeInfo(t, s, id).Node); err != nil {
		t.Error(err)
	}
	for _, spec := range []awssim.VolumeSpec{{}, {SnapshotID: "snap-00000000"}, {SizeGiB: 1, Instance: "i-00000009", Device: "/dev/sdg"}} {
		if id, err := s.AddVolume(spec); err == nil {
			t.Errorf("added %s from %+v", id, spec)
		}
	}
}

// A filesystem that cannot hold 64 TiB in one file still can play the volume.
func TestHugeVolume(t *testing.T) {
	t.Parallel()
	s, c := startEC2(t, awssim.Config{})
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{SizeGiB: 65536}))
	_, err := c.AttachVolume(t.Context(), attachInput(id, "/dev/sdf"))
	info, statErr := os.Stat(volumeInfo(t, s, id).Image)
	if statErr == nil && info.Size() == 65536<<30 {
		wantCode(t, err, "", "")
		waitFor(t, func() bool { return describeOne(t, c, id).Attachments[0].State == "attached" })
	} else {
		wantCode(t, err, "InternalError", "does not fit")
	}
	removeVolume(t, c, id)
}
