//go:build linux

package treetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What can be on a partition, besides the filesystems that Image makes.
const (
	Vfat     = "vfat"
	Swap     = "swap"
	LVM      = "lvm"      // a physical volume without a group
	Noise    = "noise"    // bytes that are nothing, none of them zero
	Zero     = "zero"     // never written
	Extended = "extended" // of an MBR: holds the partitions from 5 on that follow
)

// Plan says how a disk is to be. Partitions lie on it in the order of the plan,
// whatever their numbers; each begins at a whole MiB.
type Plan struct {
	Sector     int64  // 0: 512
	Table      string // "gpt", "dos", or "": its one partition is the whole disk
	Partitions []Partition
	// DamagedGPT overwrites the primary header: the backup at the end remains.
	DamagedGPT bool
}

// Partition is one of a plan; Disk fills in what a test must find.
type Partition struct {
	Number int
	Length int64  // in bytes, of whole MiB; of Extended it is computed
	Holds  string // a filesystem of Image, or one of the constants
	Type   string // as sfdisk takes it; "": Linux
	Name   string // GPT alone

	Start int64    // filled in: in bytes
	Want  []Record // filled in, where this kernel can mount it
}

const mib = 1 << 20

// Disks are the layouts that a program which reads disks must know. The smallest
// filesystems that each mkfs makes keep them small; all are sparse.
func Disks() map[string]Plan {
	const (
		biosBoot = "21686148-6449-6E6F-744E-656564454649"
		efi      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
		swap     = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
		lvm      = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
	)
	two := []Partition{
		{Number: 1, Length: 64 * mib, Holds: "ext4", Name: "first"},
		{Number: 2, Length: 300 * mib, Holds: "xfs", Name: "second / \u00fa"},
	}
	return map[string]Plan{
		"gpt":         {Table: "gpt", Partitions: two},
		"gpt damaged": {Table: "gpt", Partitions: two, DamagedGPT: true},
		"gpt 4Kn":     {Table: "gpt", Partitions: two, Sector: 4096},
		"gpt gaps": {Table: "gpt", Partitions: []Partition{
			{Number: 7, Length: 128 * mib, Holds: "btrfs"},
			{Number: 3, Length: 16 * mib, Holds: "ext2"},
			{Number: 128, Length: 16 * mib, Holds: "ext3", Name: "last"},
		}},
		"mbr": {Table: "dos", Partitions: []Partition{
			{Number: 1, Length: 32 * mib, Holds: "ext4", Type: "83"},
			{Number: 3, Length: 32 * mib, Holds: "ext4", Type: "83"},
			{Number: 4, Holds: Extended, Type: "5"},
			{Number: 5, Length: 32 * mib, Holds: "ext3", Type: "83"},
			{Number: 6, Length: 128 * mib, Holds: "btrfs", Type: "83"},
		}},
		// As the images of Ubuntu for EC2 are laid out.
		"ubuntu": {Table: "gpt", Partitions: []Partition{
			{Number: 14, Length: mib, Holds: Noise, Type: biosBoot},
			{Number: 15, Length: 64 * mib, Holds: Vfat, Type: efi},
			{Number: 1, Length: 128 * mib, Holds: "ext4"},
		}},
		"swap": {Table: "gpt", Partitions: []Partition{
			{Number: 1, Length: 64 * mib, Holds: "ext4"},
			{Number: 2, Length: 64 * mib, Holds: Swap, Type: swap},
			{Number: 3, Length: 64 * mib, Holds: Zero},
		}},
		"lvm": {Table: "gpt", Partitions: []Partition{
			{Number: 1, Length: 64 * mib, Holds: "ext4"},
			{Number: 2, Length: 1200 * mib, Holds: LVM, Type: lvm},
		}},
		"whole disk": {Partitions: []Partition{{Length: 64 * mib, Holds: "ext4"}}},
	}
}

// Disk makes a sparse image by the plan, and returns the plan with all that is
// filled in.
func Disk(t testing.TB, p Plan) (image string, facts Plan) {
	t.Helper()
	Require(t, "sfdisk")
	if p.Sector == 0 {
		p.Sector = 512
	}
	p.Partitions = append([]Partition(nil), p.Partitions...)
	size := p.place()
	image = filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if p.Table != "" {
		p.writeTable(t, image)
	}
	for i := range p.Partitions {
		fillPartition(t, image, &p.Partitions[i], p.Sector)
	}
	if p.DamagedGPT {
		overwrite(t, image, p.Sector, noise(int(p.Sector), 5))
	}
	return image, p
}

// place lays the partitions out and returns the size of the disk.
func (p *Plan) place() int64 {
	pos := int64(mib)
	if p.Table == "" {
		pos = 0
	}
	extended := -1
	for i := range p.Partitions {
		part := &p.Partitions[i]
		if part.Holds == Extended {
			part.Start, extended = pos, i
			continue
		}
		if extended >= 0 && part.Number > 4 {
			pos += mib // the record that leads to it lies before it
		}
		part.Start = pos
		pos += part.Length
		if extended >= 0 && part.Number > 4 {
			p.Partitions[extended].Length = pos - p.Partitions[extended].Start
		}
	}
	if p.Table == "" {
		return pos
	}
	return pos + mib // the backup of a GPT
}

func (p *Plan) writeTable(t testing.TB, image string) {
	t.Helper()
	var script strings.Builder
	fmt.Fprintf(&script, "label: %s\nunit: sectors\n", p.Table)
	for _, part := range p.Partitions {
		// A partition's number is what its device's name ends in.
		fmt.Fprintf(&script, "disk%d : start=%d, size=%d", part.Number, part.Start/p.Sector, part.Length/p.Sector)
		if part.Type != "" {
			fmt.Fprintf(&script, ", type=%s", part.Type)
		}
		if part.Name != "" {
			fmt.Fprintf(&script, ", name=%q", part.Name)
		}
		script.WriteString("\n")
	}
	device := image
	var loop int
	if p.Sector != 512 { // sfdisk asks the device for its sectors
		loop, device = attach(t, image, unix.LoopConfig{Size: uint32(p.Sector), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}})
	}
	cmd := exec.CommandContext(t.Context(), "sfdisk", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--quiet", device)
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8") // names are not ASCII
	out, err := cmd.CombinedOutput()
	if device != image {
		closeFD(loop)
		waitFor(t, "the loop on "+image+" is gone", func() bool { return len(Loops(t, image)) == 0 })
	}
	if err != nil {
		t.Fatalf("sfdisk: %v\n%s\n%s", err, out, script.String())
	}
}

func fillPartition(t testing.TB, disk string, p *Partition, sector int64) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "partition.img")
	if err := os.WriteFile(whole, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(whole, p.Length); err != nil {
		t.Fatal(err)
	}
	switch p.Holds {
	case Zero, Extended:
		return
	case Noise:
		overwrite(t, whole, 0, noise(int(p.Length), uint64(p.Number)))
	case Swap:
		RequirePrograms(t, "mkswap")
		run(t, "mkswap", "-q", whole)
	case Vfat:
		makeVfat(t, whole)
	case LVM:
		RequirePrograms(t, "pvcreate")
		run(t, "pvcreate", "-q", "-y", "--config", "activation{udev_sync=0 udev_rules=0} devices{use_devicesfile=0}", Loop(t, whole, 512))
	default:
		var args []string
		if p.Holds == "xfs" && sector != 512 {
			args = []string{"-s", fmt.Sprintf("size=%d", sector)}
		}
		Format(t, p.Holds, whole, args...)
		SparseCopy(t, whole, disk, p.Start)
		at := Mounted(t, disk, p.Start)
		fillSmall(t, at, p.Number)
		p.Want = Read(t, at, ReadOptions{})
		Unmount(t, at)
		return
	}
	SparseCopy(t, whole, disk, p.Start)
}

// fillSmall makes a few files that tell which partition they are of.
func fillSmall(t testing.TB, at string, number int) {
	t.Helper()
	m := &maker{t: t, root: at}
	m.folder("folder")
	name := m.file(fmt.Sprintf("partition %d\n", number), "folder", fmt.Sprintf("partition %d", number))
	m.must("link", os.Link(name, m.at("linked")))
	m.must("symlink", os.Symlink("folder", m.at("symlink")))
	m.set("xattr", name, "user.partition", fmt.Sprint(number))
	m.sparseFile("sparse", m.at("sparse"), 4*mib, Extent{mib, 64 << 10})
	m.must("large", os.WriteFile(m.at("large"), noise(mib+1, uint64(number)), 0o640))
}

// makeVfat makes an EFI system partition, or where mkfs.vfat is not there, the
// one sector by which it is told.
func makeVfat(t testing.TB, image string) {
	t.Helper()
	if _, err := exec.LookPath("mkfs.vfat"); err == nil {
		run(t, "mkfs.vfat", "-F", "32", "-n", "UEFI", image)
		return
	}
	boot := make([]byte, 512)
	copy(boot, "\xeb\x58\x90mkfs.fat\x00\x02\x01\x20\x00\x02")
	copy(boot[82:], "FAT32   ")
	copy(boot[510:], "\x55\xaa")
	overwrite(t, image, 0, boot)
}

func overwrite(t testing.TB, image string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(with, at); err != nil {
		t.Fatal(err)
	}
}
