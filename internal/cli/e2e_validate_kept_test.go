package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
)

// keeping is a snapshot that was migrated, its volume kept.
type keeping struct {
	subject

	w      *world
	trees  bool
	volume string // its id
	marked string // a text that stands in a file of it
	length int64  // bytes that a proof reads at least
}

// kinds are an image and, for root, the files of a disk.
func keepings(t *testing.T, test func(*testing.T, keeping)) {
	t.Run("image", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, awssim.Config{})
		test(t, w.keep(keeping{subject: w.noisy(7*mib, awssim.SnapshotSpec{}), length: 7 * mib}, "--dd"))
	})
	t.Run("trees", func(t *testing.T) {
		t.Parallel()
		treetest.Require(t, "sfdisk", "mkfs.ext4")
		image, plan := treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
			{Number: 1, Length: 16 * mib, Holds: "ext4"},
			{Number: 2, Length: mib, Holds: treetest.Noise},
		}})
		at := treetest.Mounted(t, image, plan.Partitions[0].Start)
		marked := strings.Repeat("a line that stands nowhere else\n", 400)
		writeFile(t, filepath.Join(at, "marked"), []byte(marked))
		noise(t, filepath.Join(at, "noise"), 6*mib)
		plan.Partitions[0].Want = treetest.Read(t, at, treetest.ReadOptions{})
		treetest.Unmount(t, at)
		w := newWorld(t, awssim.Config{})
		d := w.addDisk(image, plan, awssim.SnapshotSpec{})
		test(t, w.keep(keeping{subject: d.subject, trees: true, marked: marked, length: 6 * mib}))
	})
}

// keep migrates the snapshot and keeps its volume.
func (w *world) keep(k keeping, how ...string) keeping {
	w.t.Helper()
	w.leftovers = true
	w.t.Cleanup(w.unmountKept)
	k.w = w
	w.ok(append([]string{"migrate", "--bucket", testBucket, "--all", "--keep-temp-volumes", "--mount-point", w.mountPoint()}, how...)...)
	vols := w.sim.Volumes()
	if len(vols) != 1 || vols[0].Attachment != "attached" {
		w.t.Fatalf("volumes after --keep-temp-volumes: %+v", vols)
	}
	k.volume = vols[0].ID
	w.namesKept(k.volume)
	if k.trees {
		k.isMounted()
	}
	w.sim.ResetCalls()
	return k
}

// folder is where the files are mounted.
func (k keeping) folder() string { return filepath.Join(k.w.mountPoint(), k.ID+"-1") }

func (k keeping) isMounted() {
	k.w.t.Helper()
	if _, err := os.Stat(filepath.Join(k.folder(), "marked")); err != nil {
		k.w.t.Errorf("it is not mounted: %v", err)
	}
}

// validate validates the snapshot with the mounts where they are.
func (k keeping) validate(more ...string) result {
	k.w.t.Helper()
	return k.w.ok(validate(append(more, "--all", "--mount-point", k.w.mountPoint())...)...)
}

// madeVolumes wants so many to have been made.
func (k keeping) madeVolumes(t *testing.T, want int) {
	t.Helper()
	if n := k.w.called("CreateVolume"); n != want {
		t.Errorf("%d volumes were made, want %d", n, want)
	}
}

// stays wants the kept volume to be there, attached, named by a state file with what
// takes it away, and no other volume.
func (k keeping) stays(t *testing.T) {
	t.Helper()
	for _, v := range k.w.sim.Volumes() {
		switch {
		case v.ID == k.volume && (v.Tags["snap-to-s3"] != "kept" || v.Attachment != "attached"):
			t.Errorf("the kept volume is %+v", v)
		case v.ID != k.volume && v.State != "deleting":
			t.Errorf("volume left: %+v", v)
		}
	}
	k.w.namesKept(k.volume)
}

// A kept volume serves for the proof: what is mounted of it is unmounted, all is read
// again from its device, and it is deleted.
func TestKeptVolumesServeValidation(t *testing.T) {
	t.Parallel()
	keepings(t, func(t *testing.T, k keeping) {
		if k.trees { // who has looked into it has filled the page cache
			treetest.Read(t, k.folder(), treetest.ReadOptions{})
		}
		reads := k.w.countsReads()
		r := k.validate()
		reads.least(t, k.length)
		k.madeVolumes(t, 0)
		if !strings.Contains(r.stderr, "volume "+k.volume+", which was kept, is read") {
			t.Error("nobody says which volume is read")
		}
		if !strings.Contains(r.stderr, "to S3, volumes for 0.00 hours") {
			t.Error("the estimate is not of the kept volume")
		}
		k.w.isTagged(k.subject, "validated")
		if _, err := os.Stat(k.folder()); k.trees && !os.IsNotExist(err) {
			t.Errorf("the folder of the mount is still there: %v", err)
		}
		k.w.freeHost()
	})
}

// With --keep-temp-volumes again it is kept again, and mounted.
func TestKeptVolumesAreKeptAgain(t *testing.T) {
	t.Parallel()
	keepings(t, func(t *testing.T, k keeping) {
		for range 2 {
			k.validate("--keep-temp-volumes")
			k.madeVolumes(t, 0)
			k.w.isTagged(k.subject, "validated")
			k.stays(t)
			if k.trees {
				k.isMounted()
			}
			if err := k.w.sim.SetTags(k.ID, map[string]string{"snap-to-s3": "migrated"}); err != nil {
				t.Fatal(err)
			}
		}
		k.validate()
		k.madeVolumes(t, 0)
		k.w.freeHost()
	})
}

// One that somebody has written to does not make the archive wrong: a new one is
// looked at, and the kept one stays, for whoever wrote to it.
func TestKeptVolumesThatWereWrittenTo(t *testing.T) {
	t.Parallel()
	for _, again := range [][]string{nil, {"--keep-temp-volumes"}} {
		t.Run(strings.Join(again, ""), func(t *testing.T) {
			t.Parallel()
			keepings(t, func(t *testing.T, k keeping) {
				k.write(t)
				r := k.validate(again...)
				k.madeVolumes(t, 1)
				k.w.isTagged(k.subject, "validated")
				if !strings.Contains(r.stderr, "found on volume "+k.volume+", which may have been written to since it was made: looking again on a new one") ||
					strings.Contains(r.stderr, "error: difference") || strings.Contains(r.stderr, "warning: ") {
					t.Error("it does not say what it did, or says too much")
				}
				if !strings.Contains(r.stderr, "kept, as was asked for kind=volume what=\""+k.volume) {
					t.Errorf("the kept volume is not named")
				}
				k.stays(t) // and the new one goes: two are of no use to anybody
				if again != nil && k.trees {
					k.isMounted()
				}
			})
		})
	}
}

// write writes to the kept volume, below what is mounted.
func (k keeping) write(t *testing.T) {
	t.Helper()
	image := k.w.sim.Volumes()[0].Image
	at := int64(checkBlock + 77)
	if k.trees {
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		if at = int64(bytes.Index(data, []byte(k.marked))); at < 0 {
			t.Fatal("the file is not in the image")
		}
	}
	patch(t, image, at, []byte("written by whoever kept it"))
}

// What differs in the archive is found, and told once, on a kept volume too.
func TestDifferencesOnKeptVolumes(t *testing.T) {
	t.Parallel()
	keepings(t, func(t *testing.T, k keeping) {
		k.write(t)
		at := int64(checkBlock + 77)
		if k.trees {
			data, err := os.ReadFile(k.Image)
			if err != nil {
				t.Fatal(err)
			}
			at = int64(bytes.Index(data, []byte(k.marked)))
		}
		patch(t, k.Image, at, []byte("what no archive was made of")) // the snapshot, that is
		r := k.w.run(validate("--all", "--mount-point", k.w.mountPoint())...)
		r.says(t, exitDifferent, "1 difference was found", "keep the snapshot")
		k.madeVolumes(t, 1)
		k.w.isMigrated(k.subject)
		k.stays(t)
	})
}

// A volume that somebody is at work in is left to him.
func TestKeptVolumesInUse(t *testing.T) {
	t.Parallel()
	keepings(t, func(t *testing.T, k keeping) {
		if !k.trees {
			t.Skip("there is nothing to be at work in")
		}
		shell := exec.Command("sleep", "600")
		shell.Dir = k.folder()
		if err := shell.Start(); err != nil {
			t.Skip(err)
		}
		defer func() {
			_ = shell.Process.Kill() // it is ours, and may have ended
			_ = shell.Wait()         // says that it was killed
		}()
		r := k.validate()
		k.madeVolumes(t, 1)
		k.w.isTagged(k.subject, "validated")
		k.isMounted()
		k.stays(t)
		if !strings.Contains(r.stderr, "a kept volume is not read, and costs money while it exists volume="+k.volume) || !strings.Contains(r.stderr, "busy") {
			t.Error("nobody says that it is not read, and why")
		}

		// Where he is nothing else can be mounted.
		r = k.w.run(validate(k.ID, "--mount-point", k.w.mountPoint(), "--keep-temp-volumes")...)
		r.says(t, exitFailed, "something is mounted there already", "give a folder that is empty, or not there yet, with --mount-point")
		k.w.isMigrated(k.subject)
		k.isMounted()
		for _, v := range k.w.sim.Volumes() {
			if v.State != "deleting" && v.Tags["snap-to-s3"] != "kept" {
				t.Errorf("volume left: %+v", v)
			}
		}
	})
}
