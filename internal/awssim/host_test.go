package awssim

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A host sees its own devices and its own identity, at the same names as others.
func TestHost(t *testing.T) {
	t.Parallel()
	s, err := Start(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Invariants(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil && !strings.Contains(err.Error(), "left behind: volume") {
			t.Error(err)
		}
	})
	const id = "i-0fedcba9876543210"
	h, err := s.AddHost(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddHost(id); err == nil {
		t.Error("the same host was added twice")
	}
	for _, name := range []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "SNAP_TO_S3_DEV_ROOT", "SNAP_TO_S3_SYS_ROOT"} {
		if slices.ContainsFunc(h.Env(), func(kv string) bool { return strings.HasPrefix(kv, name+"=") && slices.Contains(s.Env(), kv) }) {
			t.Errorf("%s is the server's own", name)
		}
	}
	for _, instance := range []string{s.cfg.InstanceID, id} {
		if doc := s.identityDocument(instance); !strings.Contains(doc, instance) {
			t.Errorf("the identity document of %s is %s", instance, doc)
		}
		vol, err := s.AddVolume(VolumeSpec{SizeGiB: 1})
		if err != nil {
			t.Fatal(err)
		}
		s.ec2.mu.Lock()
		v, e := s.findVolume(vol)
		if e == nil {
			e = s.attach(v, attachRequest{instance: instance, device: "/dev/sdf"})
		}
		s.ec2.mu.Unlock()
		if e != nil {
			t.Fatal(e)
		}
	}
	all := s.Volumes()
	for i, dir := range []string{s.devRoot(), h.roots.dev} {
		want := filepath.Join(dir, "nvme22n1")
		if all[i].Node != want {
			t.Errorf("the device is %s, want %s", all[i].Node, want)
		}
		if _, err := os.Stat(want); err != nil {
			t.Error(err)
		}
	}
}
