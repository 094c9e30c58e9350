package ec2

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// machine is what find looks at: device nodes, and NVMe disks by name.
type machine struct {
	nodes []string
	nvme  map[string][2]string // name → model, serial
}

func (m machine) build(t *testing.T) deviceRoots {
	t.Helper()
	r := deviceRoots{dev: filepath.Join(t.TempDir(), "dev"), sys: filepath.Join(t.TempDir(), "sys")}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range m.nodes {
		write(filepath.Join(r.dev, n), "")
	}
	for name, v := range m.nvme {
		write(filepath.Join(r.sys, "block", name, "device", "model"), v[0])
		write(filepath.Join(r.sys, "block", name, "device", "serial"), v[1])
	}
	return r
}

func TestFindDevice(t *testing.T) {
	const id = "vol-0123456789abcdef0"
	ebs := func(serial string) [2]string { return [2]string{"Amazon Elastic Block Store              \n", serial} }
	tests := []struct {
		name    string
		machine machine
		at      string
		want    string
	}{
		{"nothing yet", machine{}, "/dev/sdf", ""},
		{"sd", machine{nodes: []string{"sdf", "sdg"}}, "/dev/sdf", "sdf"},
		{"xvd", machine{nodes: []string{"xvdf", "xvdg"}}, "/dev/sdf", "xvdf"},
		{"attached as xvd", machine{nodes: []string{"xvdg"}}, "/dev/xvdg", "xvdg"},
		{"only its partition", machine{nodes: []string{"xvdf1"}}, "/dev/sdf", ""},
		{"nvme by serial", machine{
			nodes: []string{"nvme0n1", "nvme1n1", "nvme2n1"},
			nvme: map[string][2]string{
				"nvme0n1": ebs("vol00000000000000000\n"), "nvme1n1": ebs("vol0123456789abcdef0\n"), "nvme2n1": ebs("vol11111111111111111\n"),
			},
		}, "/dev/sdf", "nvme1n1"},
		{"serial padded with spaces and zero bytes", machine{
			nodes: []string{"nvme1n1"}, nvme: map[string][2]string{"nvme1n1": ebs("vol0123456789abcdef0  \x00\x00\n")},
		}, "/dev/sdf", "nvme1n1"},
		{"nvme whose node is not there yet", machine{
			nvme: map[string][2]string{"nvme1n1": ebs("vol0123456789abcdef0")},
		}, "/dev/sdf", ""},
		{"instance storage with the serial", machine{
			nodes: []string{"nvme1n1"},
			nvme:  map[string][2]string{"nvme1n1": {"Amazon EC2 NVMe Instance Storage", "vol0123456789abcdef0"}},
		}, "/dev/sdf", ""},
		{"serial that only begins like it", machine{
			nodes: []string{"nvme1n1"}, nvme: map[string][2]string{"nvme1n1": ebs("vol0123456789abcdef01")},
		}, "/dev/sdf", ""},
		{"a name is no proof where NVMe disks say who they are", machine{
			nodes: []string{"nvme0n1", "sdf"}, nvme: map[string][2]string{"nvme0n1": ebs("vol00000000000000000")},
		}, "/dev/sdf", ""},
		{"instance storage beside xvd", machine{
			nodes: []string{"nvme0n1", "xvdf"}, nvme: map[string][2]string{"nvme0n1": {"Amazon EC2 NVMe Instance Storage", "AWS123"}},
		}, "/dev/sdf", "xvdf"},
		{"partition and hidden path of multipath", machine{
			nodes: []string{"nvme0n1", "nvme0n1p1", "nvme0c0n1"},
			nvme: map[string][2]string{
				"nvme0c0n1": ebs("vol0123456789abcdef0"), "nvme0n1p1": ebs("vol0123456789abcdef0"), "nvme0n1": ebs("vol0123456789abcdef0"),
			},
		}, "/dev/sdf", "nvme0n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			roots := tt.machine.build(t)
			got, err := roots.find(id, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want != "" {
				want = filepath.Join(roots.dev, want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("find(%s, %s) (-want +got):\n%s", id, tt.at, diff)
			}
		})
	}
}

func TestFindDeviceNameItCannotTranslate(t *testing.T) {
	roots := machine{nodes: []string{"sdf"}}.build(t)
	if got, err := roots.find("vol-0123456789abcdef0", "/dev/xvdba"); err == nil {
		t.Errorf("find at /dev/xvdba = %q, want an error", got)
	}
}

// thing is a device of a size.
type thing struct {
	size  int64
	image bool
}

func (t thing) Size() int64   { return t.size }
func (t thing) IsImage() bool { return t.image }

func TestWrongSize(t *testing.T) {
	const gib = int64(1) << 30
	tests := []struct {
		have  thing
		wrong bool
	}{
		{thing{8 * gib, false}, false},
		{thing{8*gib - 512, false}, true},
		{thing{8*gib + 512, false}, true},
		{thing{0, false}, true},
		{thing{8 * gib, true}, false},
		{thing{5 << 20, true}, false},
		{thing{0, true}, true},
		{thing{9 * gib, true}, true},
	}
	for _, tt := range tests {
		if got := wrongSize(tt.have, 8*gib); (got != "") != tt.wrong {
			t.Errorf("wrongSize(%+v) = %q, want wrong: %t", tt.have, got, tt.wrong)
		}
	}
}

// A pipe stands for a device that does not answer: it waits for a writer.
func TestDeviceThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	roots := machine{nodes: []string{"xvdg"}}.build(t)
	path := filepath.Join(roots.dev, "xvdf")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // ends the open that goes on
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	})
	open := func(ctx context.Context, limit time.Duration) error {
		log := slog.New(slog.DiscardHandler)
		v := &volume{
			volumes: &Volumes{cfg: VolumesConfig{
				Timing: Timing{DeviceWait: limit}.orDefault(), Log: log,
				Session: &aws.Session{Config: awssdk.Config{Region: "us-east-1"}},
			}, dev: roots},
			request: workflow.VolumeRequest{Step: func(string) {}, Snapshot: snapshot.Snapshot{Size: 1 << 30}},
			log:     log, id: "vol-0123456789abcdef0", device: "/dev/sdf",
		}
		return v.openDevice(ctx)
	}
	err := open(t.Context(), 50*time.Millisecond)
	const status = "aws ec2 describe-volume-status --region us-east-1 --volume-ids vol-0123456789abcdef0"
	if err == nil || !strings.Contains(err.Error(), "device "+path+" of volume vol-0123456789abcdef0 did not answer within 50ms") ||
		!strings.Contains(hint.Of(err), status) {
		t.Errorf("error %v, hint %q", err, hint.Of(err))
	}
	stop := errors.New("stopped by a test")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(stop) })
	if err := open(ctx, time.Hour); !errors.Is(err, stop) {
		t.Errorf("error %v, want the one it was stopped with", err)
	}
}
