package block

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// view is where the kernel tells who uses a device. What cannot be read is taken
// as telling nothing: it only makes a message poorer.
type view struct{ proc, sys string }

func systemView() view { return view{"/proc", "/sys"} }

// holder says who uses the device or one of its partitions, or "".
func (v view) holder(path string, info fs.FileInfo) string {
	devices := v.withPartitions(number(info))
	if at := v.mounted(path, devices); at != "" {
		return "mounted at " + at
	}
	for _, dev := range devices {
		held, _ := os.ReadDir(filepath.Join(v.sys, "dev/block", dev, "holders"))
		if len(held) > 0 {
			return "held by " + held[0].Name()
		}
	}
	if v.swap(devices) {
		return "used as swap"
	}
	return v.loopOver(path, info)
}

// withPartitions are the numbers ("major:minor") of a device and its partitions.
func (v view) withPartitions(dev string) []string {
	all := []string{dev}
	files, _ := filepath.Glob(filepath.Join(v.sys, "dev/block", dev, "*/partition"))
	for _, f := range files {
		if p, err := os.ReadFile(filepath.Join(filepath.Dir(f), "dev")); err == nil {
			all = append(all, strings.TrimSpace(string(p)))
		}
	}
	return all
}

// mounted is where one of the devices is mounted. A filesystem that has a number
// of its own (btrfs) is found by the source of the mount.
func (v view) mounted(path string, devices []string) string {
	f, err := os.Open(filepath.Join(v.proc, "self/mountinfo"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m, ok := parseMount(lines.Text())
		if ok && (slices.Contains(devices, m.device) || m.source == path || slices.Contains(devices, numberOf(m.source))) {
			return m.point
		}
	}
	return ""
}

type mount struct{ device, point, source string }

// parseMount reads a line of mountinfo, proc_pid_mountinfo(5): id, parent,
// major:minor, root, mount point, options, tags…, "-", type, source, options.
func parseMount(line string) (mount, bool) {
	fields := strings.Fields(line)
	dash := slices.Index(fields, "-")
	if dash < 6 || dash+2 >= len(fields) {
		return mount{}, false
	}
	return mount{fields[2], unescapeMount(fields[4]), unescapeMount(fields[dash+2])}, true
}

func (v view) swap(devices []string) bool {
	f, err := os.Open(filepath.Join(v.proc, "swaps"))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 0 && slices.Contains(devices, numberOf(unescapeMount(fields[0]))) {
			return true
		}
	}
	return false
}

// loopOver is the loop device that reads the device or a partition of it, or "".
func (v view) loopOver(path string, info fs.FileInfo) string {
	devices := v.withPartitions(number(info))
	files, _ := filepath.Glob(filepath.Join(v.sys, "block/loop*/loop/backing_file"))
	for _, file := range files {
		backing, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		name := strings.TrimSuffix(strings.TrimRight(string(backing), "\n"), " (deleted)")
		if name == path || slices.Contains(devices, numberOf(name)) {
			return "below /dev/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
		}
	}
	return ""
}

// numberOf is the "major:minor" of a block device, or "".
func numberOf(path string) string {
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != os.ModeDevice {
		return ""
	}
	return number(info)
}

func number(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// unescapeMount undoes the octal escapes of space, tab, newline and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
