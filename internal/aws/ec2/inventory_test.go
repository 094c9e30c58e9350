package ec2_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// All that an account has in a region comes, page by page, each thing once, and
// nothing of others.
func TestInventory(t *testing.T) {
	w := newWorld(t, awssim.Config{EC2: awssim.EC2Config{PageSize: 7}})
	mine, err := w.sim.AddSnapshots(20, awssim.SnapshotSpec{SizeGiB: 8})
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []awssim.SnapshotSpec{{State: "pending", SizeGiB: 1}, {Archived: true, SizeGiB: 1}} {
		mine = append(mine, string(w.addSnapshot(spec).ID))
	}
	if _, err := w.sim.AddSnapshot(awssim.SnapshotSpec{OwnerID: "999988887777", SizeGiB: 1}); err != nil {
		t.Fatal(err)
	}
	volumes := map[string]string{}
	for i := range 16 {
		name := fmt.Sprint("disk ", i)
		id, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 3, Tags: map[string]string{"Name": name}})
		if err != nil {
			t.Fatal(err)
		}
		volumes[id] = name
	}
	w.sim.ResetCalls()
	c := ec2.NewCatalog(w.session)
	var got []string
	for s, err := range c.Owned(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if s.Account != "111122223333" {
			t.Errorf("%s is of account %q", s.ID, s.Account)
		}
		got = append(got, string(s.ID)) // the first is the world's own
	}
	if got = got[1:]; !slices.Equal(got, mine) || w.count("DescribeSnapshots") != 4 {
		t.Errorf("%d snapshots in %d calls, want %d in 4", len(got), w.count("DescribeSnapshots"), len(mine))
	}
	found := map[string]string{}
	for v, err := range c.Volumes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if volumes[string(v.ID)] != "" && v.Size != 3<<30 {
			t.Errorf("%s has %d bytes", v.ID, v.Size)
		}
		if v.Name != "" && v.Name != "root" { // of this instance
			found[string(v.ID)] = v.Name
		}
	}
	if !maps.Equal(found, volumes) || w.count("DescribeVolumes") < 3 {
		t.Errorf("volumes: %v in %d calls, want %v", found, w.count("DescribeVolumes"), volumes)
	}
	for range c.Volumes(t.Context()) {
		break // and no more is asked for
	}
	for what, ask := range map[string]func() error{
		"ec2:DescribeSnapshots": func() error { return last(c.Owned(t.Context())) },
		"ec2:DescribeVolumes":   func() error { return lastOf(c.Volumes(t.Context())) },
	} {
		w.sim.DenyActions([]string{what})
		if err := ask(); err == nil || !strings.Contains(err.Error(), what) || hint.Of(err) == "" {
			t.Errorf("without %s: %v", what, err)
		}
	}
}

func last(all func(func(analyze.OwnedSnapshot, error) bool)) (err error) {
	for _, err = range all {
	}
	return err
}

func lastOf(all func(func(analyze.EBSVolume, error) bool)) (err error) {
	for _, err = range all {
	}
	return err
}

// Of those that are shared the public ones and those of known accounts are seen.
func TestShared(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	share := func(with ...string) snapshot.ID {
		return w.addSnapshot(awssim.SnapshotSpec{SizeGiB: 1, SharedWith: with}).ID
	}
	share()
	public, known, other := share("all"), share("444455556666", "777788889999"), share("777788889999")
	if _, err := w.sim.AddSnapshot(awssim.SnapshotSpec{OwnerID: "999988887777", SizeGiB: 1}); err != nil { // public, and not ours
		t.Fatal(err)
	}
	got, err := ec2.NewCatalog(w.session).Shared(t.Context(), []string{"444455556666"})
	if want := map[snapshot.ID]bool{public: true, known: true}; err != nil || !maps.Equal(got, want) {
		t.Errorf("shared: %v, %v; want %v, and not %s", got, err, want, other)
	}
}
