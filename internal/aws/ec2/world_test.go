package ec2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

const tag = "snap-to-s3"

// predecessorsPolicy are the rights that must be enough.
func predecessorsPolicy() []string {
	return []string{
		"s3:PutObject", "s3:PutObjectTagging", "s3:GetObject",
		"ec2:CreateVolume", "ec2:AttachVolume", "ec2:DetachVolume", "ec2:DeleteVolume", "ec2:DescribeSnapshots",
		"ec2:DescribeVolumes", "ec2:DescribeInstanceAttribute", "ec2:CreateTags", "ec2:DescribeTags", "ec2:DeleteTags",
	}
}

// world is an account with one snapshot of a small disk, and a run on its
// instance.
type world struct {
	t        *testing.T
	sim      *awssim.Server
	session  *aws.Session
	instance aws.Instance
	devRoot  string
	sysRoot  string
	stateDir string
	state    *runstate.File
	protocol *catalog.Protocol
	owner    catalog.Owner
	timing   ec2.Timing
	log      *lockedBuffer
	logger   *slog.Logger
	disk     []byte
	snapshot snapshot.Snapshot
}

// newWorld starts a simulator that plays cfg. At the end nothing may be left in
// it, unless the test has called leaves.
func newWorld(t *testing.T, cfg awssim.Config) *world {
	t.Helper()
	return newImpatientWorld(t, cfg, 10*time.Second)
}

// newImpatientWorld is newWorld with connections that are given up when they
// are silent for so long.
func newImpatientWorld(t *testing.T, cfg awssim.Config, stall time.Duration) *world {
	t.Helper()
	t.Parallel()
	return newSerialWorld(t, cfg, stall)
}

// newSerialWorld is newImpatientWorld for a test that waits for no other.
func newSerialWorld(t *testing.T, cfg awssim.Config, stall time.Duration) *world {
	t.Helper()
	w := &world{t: t, timing: quick(), log: &lockedBuffer{}, stateDir: t.TempDir()}
	cfg.Dir = t.TempDir()
	var err error
	if w.sim, err = awssim.Start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.sim.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	w.sim.SetPolicy(predecessorsPolicy())
	w.logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.connect(stall)
	w.newRun("run-a")
	w.disk = noise(3<<20 + 512)
	w.snapshot = w.addSnapshot(awssim.SnapshotSpec{})
	return w
}

// environment is one for all tests of the process, and the simulators are many.
var environment sync.Mutex

// connect makes a session with the simulator, by the environment that it gives.
func (w *world) connect(stall time.Duration) {
	w.t.Helper()
	environment.Lock()
	defer environment.Unlock()
	for _, kv := range w.sim.Env() {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_S3":
			continue // looked at with every new client
		case "SNAP_TO_S3_DEV_ROOT":
			w.devRoot = v
		case "SNAP_TO_S3_SYS_ROOT":
			w.sysRoot = v
		}
		if err := os.Setenv(k, v); err != nil {
			w.t.Fatal(err)
		}
	}
	var err error
	w.session, err = aws.Load(w.t.Context(), aws.Options{Log: w.logger, Stall: stall, MaxBackoff: 2 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.instance, err = w.session.Instance(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.session.Config.BaseEndpoint = awssdk.String(w.sim.Endpoint())
}

// newRun makes the next volumes another run's.
func (w *world) newRun(run string) {
	w.t.Helper()
	var err error
	w.owner = catalog.Owner{
		Identity: catalog.Identity{Host: w.instance.ID, Boot: "boot-1", Run: run},
		Renewed:  time.Now(), Before: catalog.Migrate, HadBefore: true,
	}
	w.state, err = runstate.Create(w.stateDir, runstate.Header{Run: run, Host: w.instance.ID, Boot: "boot-1", PID: os.Getpid(), Started: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.protocol = &catalog.Protocol{
		Catalog: ec2.NewCatalog(w.session), Tag: tag, Self: w.owner.Identity, Now: w.session.Now, Log: w.logger,
	}
}

func (w *world) addSnapshot(spec awssim.SnapshotSpec) snapshot.Snapshot {
	w.t.Helper()
	spec.Reader, spec.SizeBytes = bytes.NewReader(w.disk), int64(len(w.disk))
	id, err := w.sim.AddSnapshot(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.find(snapshot.ID(id))
}

func (w *world) find(id snapshot.ID) snapshot.Snapshot {
	w.t.Helper()
	for s, err := range ec2.NewCatalog(w.session).Snapshots(w.t.Context(), catalog.Filter{IDs: []snapshot.ID{id}}) {
		if err != nil {
			w.t.Fatal(err)
		}
		return s
	}
	w.t.Fatalf("snapshot %s is not there", id)
	return snapshot.Snapshot{}
}

// quick is short enough for tests, and long enough for a busy machine.
func quick() ec2.Timing {
	return ec2.Timing{
		Poll: time.Millisecond, PollMax: 10 * time.Millisecond, Settle: 60 * time.Millisecond, Call: time.Second,
		VolumeWait: 3 * time.Second, AttachWait: 3 * time.Second, DeviceWait: 3 * time.Second, DetachWait: 3 * time.Second,
	}
}

func (w *world) opener() *ec2.Volumes {
	return ec2.NewVolumes(ec2.VolumesConfig{
		Session: w.session, Instance: w.instance, Tag: tag,
		DevRoot: w.devRoot, SysRoot: w.sysRoot,
		Protocol: w.protocol, State: w.state, Timing: w.timing, Log: w.logger,
	})
}

func (w *world) request() workflow.VolumeRequest {
	return workflow.VolumeRequest{Snapshot: w.snapshot, Owner: w.owner, Log: w.logger, Step: func(string) {}}
}

func (w *world) open(ctx context.Context, change ...func(*workflow.VolumeRequest)) (workflow.Volume, error) {
	w.t.Helper()
	r := w.request()
	for _, f := range change {
		f(&r)
	}
	return w.opener().Open(ctx, func(err error) { w.t.Errorf("the run was cancelled: %v", err) }, r)
}

// mustOpen opens a volume and proves that it is the disk.
func (w *world) mustOpen(change ...func(*workflow.VolumeRequest)) workflow.Volume {
	w.t.Helper()
	v, err := w.open(w.t.Context(), change...)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.checkDisk(v)
	return v
}

func (w *world) checkDisk(v workflow.Volume) {
	w.t.Helper()
	if v.Size() != int64(len(w.disk)) {
		w.t.Errorf("the volume has %d bytes, want %d", v.Size(), len(w.disk))
		return
	}
	got := make([]byte, v.Size())
	if _, err := v.ReadAt(w.t.Context(), got, 0); err != nil && !errors.Is(err, io.EOF) {
		w.t.Errorf("read the volume: %v", err)
	}
	if !bytes.Equal(got, w.disk) {
		w.t.Error("the volume does not hold the snapshot's disk")
	}
}

// mustRelease releases a volume and proves that nothing is left.
func (w *world) mustRelease(v workflow.Volume) {
	w.t.Helper()
	if err := v.Release(w.t.Context()); err != nil {
		w.t.Errorf("release: %v", err)
	}
	w.nothingLeft()
}

// nothingLeft checks AWS's side and ours.
func (w *world) nothingLeft() {
	w.t.Helper()
	w.sim.SetFault(nil)
	for _, v := range w.alive() {
		w.t.Errorf("volume %s is left: %s, attached to %q (%s)", v.ID, v.State, v.Instance, v.Attachment)
	}
	w.stateClosesEmpty()
}

func (w *world) stateClosesEmpty() {
	w.t.Helper()
	for _, e := range w.state.Left() {
		w.t.Errorf("the state file keeps a %s: %v: %s: %s", e.Kind, e.Fields, e.Reason, e.Command)
	}
	if err := w.state.Close(); err != nil {
		w.t.Errorf("close the state file: %v", err)
	}
	files, err := os.ReadDir(w.stateDir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(w.stateDir + "/" + f.Name())
		w.t.Errorf("state file %s is left: %s (%v)", f.Name(), text, err)
	}
}

// alive are the volumes that are not being deleted.
func (w *world) alive() []awssim.VolumeInfo {
	var alive []awssim.VolumeInfo
	for _, v := range w.sim.Volumes() {
		if v.State != "deleting" {
			alive = append(alive, v)
		}
	}
	return alive
}

// leftIsNamed checks that each volume that is left is named in the error and in
// the state file, each with the command that removes it, and takes them away.
func (w *world) leftIsNamed(err error) {
	w.t.Helper()
	noted := map[string]string{}
	for _, e := range w.state.Left() {
		if e.Kind == "volume" {
			noted[e.Fields["volume"]] = e.Command
		}
	}
	for _, v := range w.alive() {
		if err == nil || !strings.Contains(err.Error(), v.ID) || !strings.Contains(err.Error(), "aws ec2 delete-volume --region us-east-1 --volume-id "+v.ID) {
			w.t.Errorf("volume %s is left, and the error does not say how to delete it: %v", v.ID, err)
		}
		if !strings.Contains(noted[v.ID], "delete-volume --region us-east-1 --volume-id "+v.ID) {
			w.t.Errorf("volume %s is left, and the state file does not say how to delete it: %v", v.ID, w.state.Left())
		}
		if v.Instance != "" && !strings.Contains(noted[v.ID], "detach-volume") {
			w.t.Errorf("volume %s is left attached, and the command does not detach it: %s", v.ID, noted[v.ID])
		}
	}
	w.sweep()
}

// sweep removes what is left, as an operator would.
func (w *world) sweep() {
	w.t.Helper()
	w.sim.SetFault(nil)
	w.sim.DenyActions(nil)
	client := awsec2.NewFromConfig(w.session.Config)
	for _, v := range w.alive() {
		w.sim.SetVolumeFault(v.ID, awssim.VolumeFault{})
		if v.Instance != "" {
			w.detachByHand(v.ID)
		}
		for deadline := time.Now().Add(5 * time.Second); ; {
			_, err := client.DeleteVolume(w.t.Context(), &awsec2.DeleteVolumeInput{VolumeId: &v.ID})
			if err == nil || aws.Code(err) == "InvalidVolume.NotFound" {
				break
			}
			if time.Now().After(deadline) {
				w.t.Fatalf("volume %s cannot be deleted: %v", v.ID, err)
			}
			w.describe(v.ID) // it may still be in creating, which ends by looks
		}
	}
}

// describe looks at a volume, which is what its states wait for.
func (w *world) describe(id string) types.Volume {
	w.t.Helper()
	out, err := awsec2.NewFromConfig(w.session.Config).DescribeVolumes(w.t.Context(), &awsec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		w.t.Logf("describe %s: %v", id, err)
		return types.Volume{}
	}
	return out.Volumes[0]
}

// detachByHand detaches a volume as an operator would.
func (w *world) detachByHand(id string) {
	w.t.Helper()
	_, err := awsec2.NewFromConfig(w.session.Config).DetachVolume(w.t.Context(), &awsec2.DetachVolumeInput{VolumeId: &id, Force: awssdk.Bool(true)})
	if err != nil && aws.Code(err) != "IncorrectState" {
		w.t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if v := w.describe(id); v.VolumeId != nil && len(v.Attachments) == 0 {
			return
		}
	}
	w.t.Fatalf("volume %s does not detach", id)
}

// lockedBuffer takes log lines from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	p := make([]byte, n)
	_, _ = r.Read(p) // never fails
	return p
}
