package ec2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/hint"
)

// nvmeModel is what EBS volumes call themselves; instance storage has another
// model (EC2 user guide, "Amazon EBS and NVMe").
const nvmeModel = "Amazon Elastic Block Store"

// nvmeDisk matches whole disks: no partitions, and not the hidden paths below a
// multipath disk (nvme0c0n1), which have no device node.
var nvmeDisk = regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)

// deviceRoots are the folders where this machine's devices are looked for.
type deviceRoots struct{ dev, sys string }

const rootsHint = "SNAP_TO_S3_DEV_ROOT and SNAP_TO_S3_SYS_ROOT, where they are set, name folders such as /dev and /sys"

// find returns the device of an attached volume, or "" while there is none. An
// NVMe disk says itself which volume it is, and the name it was attached at
// means nothing on machines that have them. Elsewhere the kernel names it after
// the attachment, as sdX or xvdX.
func (r deviceRoots) find(id volumeID, attachedAt string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(r.sys, "block"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", hint.Wrap(fmt.Errorf("list block devices: %w", err), rootsHint)
	}
	serial := strings.Replace(string(id), "-", "", 1)
	nvme := false
	for _, e := range entries {
		if !nvmeDisk.MatchString(e.Name()) || r.attribute(e.Name(), "model") != nvmeModel {
			continue
		}
		nvme = true
		if r.attribute(e.Name(), "serial") == serial {
			return r.node(e.Name())
		}
	}
	if nvme {
		return "", nil
	}
	found := letterOf.FindStringSubmatch(attachedAt)
	if found == nil {
		return "", fmt.Errorf("cannot tell the device from the name %q it was attached at", attachedAt)
	}
	for _, name := range []string{"sd" + found[1], "xvd" + found[1]} {
		if path, err := r.node(name); path != "" || err != nil {
			return path, err
		}
	}
	return "", nil
}

// attribute reads a word of a device, without the padding that NVMe gives it.
// One that cannot be read is empty: devices come and go while they are looked
// at.
func (r deviceRoots) attribute(name, attribute string) string {
	text, err := os.ReadFile(filepath.Join(r.sys, "block", name, "device", attribute))
	if err != nil {
		return ""
	}
	return strings.Trim(string(text), " \n\x00")
}

// node is the path of a device, or "" where there is none yet.
func (r deviceRoots) node(name string) (string, error) {
	path := filepath.Join(r.dev, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", hint.Wrap(fmt.Errorf("look for a device: %w", err), rootsHint)
	}
	return path, nil
}

// hasLetter tells whether a disk of this machine has the name that a volume with
// this letter would get.
func (r deviceRoots) hasLetter(letter byte) bool {
	for _, prefix := range []string{"sd", "xvd"} {
		if _, err := os.Lstat(filepath.Join(r.dev, prefix+string(letter))); err == nil {
			return true
		}
	}
	return false
}

// busyLooks is how often a device may be found held by another before it is an
// error: whatever examines new disks holds them for a moment.
const busyLooks = 3

// openDevice waits for the device and takes it for this process alone.
func (t *volume) openDevice(ctx context.Context) error {
	v := t.volumes
	t.step("waiting for the device of %s", t.id)
	begun, busy, last := time.Now(), 0, "there is none"
	var path string
	var silent bool // it did not answer
	err := v.wait(ctx, v.cfg.Timing.DeviceWait, func(ctx context.Context) (bool, error) {
		var err error
		if path, err = v.dev.find(t.id, t.device); path == "" || err != nil {
			return false, err
		}
		source, err := block.OpenDevice(ctx, path)
		switch {
		case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
			silent = true
			return false, err
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENOMEDIUM):
			return false, nil // its node comes before it works
		case errors.Is(err, syscall.EBUSY):
			if busy++; busy < busyLooks {
				return false, nil
			}
			return false, err
		case err != nil:
			return false, err
		}
		if last = wrongSize(source, t.request.Snapshot.Size); last != "" {
			return false, source.Close()
		}
		t.Source, t.node = source, path
		return true, nil
	})
	if still := late(err, "device %s of volume %s did not answer within %s", path, t.id, v.cfg.Timing.DeviceWait); still != nil && silent {
		return hint.Wrap(still, t.statusHint())
	}
	if still := late(err, "no device for volume %s, attached at %s, within %s: %s",
		t.id, t.device, v.cfg.Timing.DeviceWait, last); still != nil {
		return hint.Wrap(still,
			fmt.Sprintf("see lsblk and dmesg; in a container, mount the host's /dev and /sys and name them in SNAP_TO_S3_DEV_ROOT and SNAP_TO_S3_SYS_ROOT (now %s and %s)",
				v.dev.dev, v.dev.sys))
	}
	if err != nil {
		return explain(ctx, err, fmt.Sprintf("open the device of volume %s", t.id))
	}
	t.log.Info("opened device", "volume", t.id, "device", path, "elapsed", time.Since(begun).Round(time.Millisecond))
	return nil
}

// statusHint is what to do about a volume that gives nothing.
func (t *volume) statusHint() string {
	return fmt.Sprintf("check the volume's status: aws ec2 describe-volume-status --region %s --volume-ids %s", t.volumes.region(), t.id)
}

// sized is what wrongSize asks of a device.
type sized interface {
	Size() int64
	IsImage() bool
}

// wrongSize says what is wrong with a device's size, or "". A volume's device
// has exactly its size, and one that has not is another disk. What a sandbox
// gives for a device is an image, which need not be a whole number of GiB: that
// may be smaller.
func wrongSize(d sized, want int64) string {
	have := d.Size()
	if have == want || d.IsImage() && 0 < have && have < want {
		return ""
	}
	return fmt.Sprintf("the device there has %d bytes, the volume %d", have, want)
}
