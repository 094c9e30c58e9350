package awssim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// deviceNode is a device as the instance sees it: an entry of the device root
// that leads to a loop device or straight to the image.
type deviceNode struct {
	roots roots // of its instance
	name  string
	loop  *loopDevice // nil: the image itself
}

const (
	modelEBS      = "Amazon Elastic Block Store"
	modelInstance = "Amazon EC2 NVMe Instance Storage"
)

// plug makes the device of an attached volume appear.
func (s *Server) plug(v *volume) error {
	if v.noImage != nil {
		return fmt.Errorf("its image of %d bytes does not fit into this filesystem: %w", v.deviceSize, v.noImage)
	}
	where, _ := s.rootsOf(v.attached.instance)
	node := &deviceNode{roots: where, name: v.attached.name.node(s.cfg.Naming)}
	target, err := filepath.Abs(v.image)
	if err != nil {
		return err
	}
	if s.cfg.Loop && !v.root {
		if node.loop, err = newLoop(v.image); err != nil {
			return err
		}
		target = node.loop.path
	}
	if err := s.showDevice(where, node.name, target, nvmeIdentity{serial: strings.Replace(v.id, "-", "", 1), model: modelEBS}); err != nil {
		return errors.Join(err, node.loop.release(), node.hide())
	}
	v.attached.node = node
	if at := s.ec2.fault(v).ReadErrorAt; at > 0 && at < v.deviceSize {
		// A loop device answers reads beyond its file's end with EIO.
		return os.Truncate(v.image, at)
	}
	return nil
}

// nvmeIdentity is what an NVMe controller says of itself.
type nvmeIdentity struct{ serial, model string }

// showDevice makes the entry in the device root, and for NVMe what the kernel
// shows of the controller under /sys, padded as the controller pads it.
func (s *Server) showDevice(where roots, name, target string, id nvmeIdentity) error {
	if err := os.Symlink(target, filepath.Join(where.dev, name)); err != nil {
		return err
	}
	if s.cfg.Naming != "nvme" {
		return nil
	}
	dir := filepath.Join(where.sys, "block", name, "device")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "serial"), fmt.Appendf(nil, "%-20s\n", id.serial), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "model"), fmt.Appendf(nil, "%-40s\n", id.model), 0o600)
}

func (n *deviceNode) hide() error {
	err := os.Remove(filepath.Join(n.roots.dev, n.name))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(n.roots.sys, "block", n.name)))
}

// unplug takes a volume's device away and tells whether it is gone. A device
// that somebody holds stays, unless the detach is forced: then its holder is
// left with a device that cannot be read.
func (s *Server) unplug(v *volume) bool {
	node := v.attached.node
	if node == nil {
		return true
	}
	if err := node.loop.release(); err != nil {
		s.ec2.broken = append(s.ec2.broken, fmt.Sprintf("loop device of volume %s: %v", v.id, err))
	}
	if s.holder(v) != "" {
		if !v.attached.force {
			return false
		}
		if err := s.yank(v); err != nil {
			s.ec2.broken = append(s.ec2.broken, fmt.Sprintf("take volume %s away by force: %v", v.id, err))
		}
	}
	if err := node.hide(); err != nil {
		s.ec2.broken = append(s.ec2.broken, fmt.Sprintf("remove the device of volume %s: %v", v.id, err))
	}
	v.attached.node = nil
	return true
}

// holder says who has an attached volume's device open, after we let go of it.
func (s *Server) holder(v *volume) string {
	node := v.attached.node
	if node.loop != nil {
		if !node.loop.bound() {
			return ""
		}
		if who := openBy(node.loop.path); who != "" {
			return who
		}
		return "a mount or another device over it"
	}
	target, err := filepath.EvalSymlinks(v.image)
	if err != nil {
		return ""
	}
	return openBy(target)
}

// openBy names the first process that has a file open, as far as we may see.
func openBy(path string) string {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == path {
			pid := strings.Split(link, "/")[2]
			name, err := os.ReadFile("/proc/" + pid + "/comm")
			if err != nil {
				return "process " + pid
			}
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return ""
}

// yank leaves the holder of a device with an empty one and the volume with its data.
func (s *Server) yank(v *volume) error {
	old := fmt.Sprintf("%s.yanked%d", v.image, len(s.ec2.yanked))
	if err := os.Rename(v.image, old); err != nil {
		return err
	}
	loop := v.attached.node.loop
	if loop != nil {
		loop.file = filepath.Base(old)
		s.ec2.yanked = append(s.ec2.yanked, loop)
	}
	im, err := openDiskImage(SnapshotSpec{Image: old})
	if err != nil {
		return err
	}
	return errors.Join(im.copyTo(v.image, im.size, 0), im.close(), os.Truncate(old, 0), os.Remove(old))
}

// unplugAll takes every device away and says which loops are still held.
func (s *Server) unplugAll() error {
	var errs []error
	for _, v := range s.ec2.volumes {
		if v.attached == nil || v.attached.node == nil {
			continue
		}
		node := v.attached.node
		errs = append(errs, node.loop.release(), node.hide())
		if node.loop != nil && !node.loop.goneSoon() {
			errs = append(errs, fmt.Errorf("loop device %s of volume %s is still held by %s", node.loop.path, v.id, s.holder(v)))
		}
	}
	for _, l := range s.ec2.yanked {
		if !l.goneSoon() {
			errs = append(errs, fmt.Errorf("loop device %s of a volume that was detached by force is still held", l.path))
		}
	}
	return errors.Join(errs...)
}

// plugOwnDisks adds what an instance has anyway: its root volume, and on an
// NVMe instance a disk that is no EBS volume.
func (s *Server) plugOwnDisks() error {
	_, err := s.AddVolume(VolumeSpec{SizeGiB: 8, Tags: map[string]string{"Name": "root"}})
	if err != nil {
		return fmt.Errorf("add the root volume: %w", err)
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	v := s.ec2.volumes[0]
	v.root, v.state = true, volInUse
	v.attached = &attachment{
		instance: s.cfg.InstanceID, device: "/dev/xvda", name: deviceName{letters: "a"},
		state: attAttached, at: time.Now(),
	}
	if err := s.plugRoot(v); err != nil {
		return fmt.Errorf("make the root volume's device: %w", err)
	}
	return nil
}

func (s *Server) plugRoot(v *volume) error {
	target, err := filepath.Abs(v.image)
	if err != nil {
		return err
	}
	where := roots{s.devRoot(), s.sysRoot()}
	if s.cfg.Naming != "nvme" {
		return s.showDevice(where, s.cfg.Naming+"a", target, nvmeIdentity{})
	}
	if err := s.showDevice(where, "nvme0n1", target, nvmeIdentity{strings.Replace(v.id, "-", "", 1), modelEBS}); err != nil {
		return err
	}
	local := filepath.Join(filepath.Dir(target), "instance-storage.img")
	if err := (&diskImage{}).copyTo(local, 1<<30, 0); err != nil { // 1 GiB, sparse
		return err
	}
	return s.showDevice(where, "nvme1n1", local, nvmeIdentity{"AWS1A2B3C4D5E6F70819", modelInstance})
}
