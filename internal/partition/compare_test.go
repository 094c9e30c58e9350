//go:build linux

package partition_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/partition"
)

func tryImage(t *testing.T, image string) (partition.Table, error) {
	t.Helper()
	src, err := block.OpenFile(image)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	return partition.Read(t.Context(), src)
}

// program runs a program and returns what it prints and its exit code.
func program(t *testing.T, name string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	text, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(text), 0
}

// blkid asks blkid what is at a place of an image. Nothing known: an empty map.
func blkid(t *testing.T, image string, off, size int64) map[string]string {
	t.Helper()
	out, code := program(t, "blkid", "-p", "-o", "export", "-O", strconv.FormatInt(off, 10), "-S", strconv.FormatInt(size, 10), image)
	if code != 0 && code != 2 {
		t.Fatalf("blkid ends with %d: %s", code, out)
	}
	facts := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		facts[key] = strings.ReplaceAll(value, `\`, "")
	}
	return facts
}

// sameAsBlkid compares what Read found with what blkid finds.
func sameAsBlkid(t *testing.T, image string, p partition.Partition) {
	t.Helper()
	facts := blkid(t, image, p.Start, p.Length)
	want := []string{facts["TYPE"], facts["UUID"], facts["LABEL"]}
	got := []string{p.Content.Type, p.Content.UUID, p.Content.Label}
	if facts["TYPE"] == "vfat" && p.Content.Label == "NO NAME" {
		got[2] = ""
	}
	if facts["FSBLOCKSIZE"] != "" && p.IsFilesystem() && facts["TYPE"] != "vfat" {
		want, got = append(want, facts["FSBLOCKSIZE"]), append(got, fmt.Sprint(p.Content.BlockSize))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("partition %d at %d: -blkid +Read:\n%s", p.Number, p.Start, d)
	}
}

type sfdiskTable struct {
	Label, ID         string
	FirstLBA, LastLBA int64
	SectorSize        int64
	Partitions        []struct {
		Node             string
		Start, Size      int64
		Type, UUID, Name string
		Bootable         bool
	}
}

// sameAsSfdisk compares the table with what sfdisk reads of it. The image is on a
// loop device where its sectors are not of 512 bytes.
func sameAsSfdisk(t *testing.T, image string, got partition.Table) {
	t.Helper()
	device := image
	if got.SectorSize != 512 {
		device = treetest.Loop(t, image, got.SectorSize)
	}
	out, code := program(t, "sfdisk", "--json", device)
	if code != 0 {
		t.Fatalf("sfdisk ends with %d", code)
	}
	var answer struct{ PartitionTable sfdiskTable }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	s := answer.PartitionTable
	label := map[string]partition.TableType{"gpt": partition.GPT, "dos": partition.MBR}[s.Label]
	id := strings.TrimPrefix(strings.ToLower(s.ID), "0x")
	want := []string{fmt.Sprint(label, s.SectorSize, id)}
	for _, p := range s.Partitions {
		number := strings.TrimLeft(strings.TrimPrefix(p.Node, device), "p")
		uuid, kind := strings.ToLower(p.UUID), strings.ToLower(p.Type)
		if label == partition.MBR {
			n, _ := strconv.Atoi(number)
			uuid, kind = fmt.Sprintf("%s-%02x", id, n), fmt.Sprintf("0x%02s", kind)
		}
		want = append(want, fmt.Sprintf("%s: %d+%d %s %s %q", number, p.Start*s.SectorSize, p.Size*s.SectorSize, kind, uuid, p.Name))
	}
	lines := []string{fmt.Sprint(got.Type, got.SectorSize, got.DiskID)}
	for _, p := range byNumber(got) {
		lines = append(lines, fmt.Sprintf("%d: %d+%d %s %s %q", p.Number, p.Start, p.Length, p.Type, p.UUID, p.Name))
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("-sfdisk +Read:\n%s", d)
	}
	if h := got.GPT; h != nil && (h.FirstUsable != s.FirstLBA || h.LastUsable != s.LastLBA || h.EntriesLBA != 2) {
		t.Errorf("header %+v, but sfdisk has room from %d to %d", *h, s.FirstLBA, s.LastLBA)
	}
}

// byNumber is the order of sfdisk.
func byNumber(t partition.Table) []partition.Partition {
	return slices.SortedFunc(slices.Values(t.Partitions), func(a, b partition.Partition) int { return a.Number - b.Number })
}

// The disks that all of the tool is tried with, made by sfdisk and mkfs.
func TestCompareDisks(t *testing.T) {
	treetest.RequirePrograms(t, "sfdisk", "blkid")
	for name, plan := range treetest.Disks() {
		t.Run(name, func(t *testing.T) {
			image, facts := treetest.Disk(t, plan)
			got, err := tryImage(t, image)
			if err != nil {
				t.Fatal(err)
			}
			if got.SectorSize != facts.Sector {
				t.Errorf("sectors of %d bytes, want %d", got.SectorSize, facts.Sector)
			}
			if (len(got.Notes) > 0) != facts.DamagedGPT {
				t.Errorf("notes %q, damaged %v", got.Notes, facts.DamagedGPT)
			}
			if facts.Table == "" {
				sameAsBlkid(t, image, got.Partitions[0])
				return
			}
			sameAsSfdisk(t, image, got)
			for _, p := range got.Partitions {
				if p.Role != partition.Extended {
					sameAsBlkid(t, image, p)
				}
			}
			for i, p := range facts.Partitions {
				g := got.Partitions[i]
				want := map[string]string{treetest.LVM: "LVM2_member", treetest.Noise: "", treetest.Zero: "", treetest.Extended: ""}
				content, other := want[p.Holds]
				if !other {
					content = p.Holds
				}
				if g.Number != p.Number || g.Start != p.Start || g.Length != p.Length || g.Content.Type != content {
					t.Errorf("partition %+v, want %d at %d+%d with %q", g, p.Number, p.Start, p.Length, content)
				}
			}
		})
	}
}

// blank makes a sparse image.
func blank(t *testing.T, size int64) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	return image
}

// What a disk was before leaves marks that the next program does not always take
// away. Nothing of it may be taken for what is on the disk now: an error may be.
func TestCompareReused(t *testing.T) {
	treetest.RequirePrograms(t, "blkid", "sfdisk")
	programs := map[string][]string{
		"ext4":  {"mkfs.ext4", "-q", "-F"},
		"ext2":  {"mkfs.ext2", "-q", "-F", "-O", "^resize_inode"},
		"xfs":   {"mkfs.xfs", "-q", "-f"},
		"btrfs": {"mkfs.btrfs", "-q", "-f"},
		"vfat":  {"mkfs.vfat", "-F", "32"},
		"swap":  {"mkswap", "-q", "-f"},
		"gpt":   {"sfdisk", "-q", "-X", "gpt"},
		"dos":   {"sfdisk", "-q", "-X", "dos"},
	}
	for first, before := range programs {
		for second, now := range programs {
			t.Run(first+" then "+second, func(t *testing.T) {
				t.Parallel()
				image := blank(t, 320*mib)
				for _, args := range [][]string{before, now} {
					treetest.RequirePrograms(t, args[0])
					cmd := exec.CommandContext(t.Context(), args[0], append(args[1:len(args):len(args)], image)...)
					cmd.Stdin = strings.NewReader("size=16MiB\n")
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%s: %v\n%s", args[0], err, out)
					}
				}
				got, err := tryImage(t, image)
				if second == "gpt" || second == "dos" {
					label := map[string]partition.TableType{"gpt": partition.GPT, "dos": partition.MBR}[second]
					if err == nil && (got.Type != label || len(got.Partitions) != 1) {
						t.Errorf("got %q", brief(got))
					}
					if err != nil && !strings.Contains(err.Error(), "left from another use") {
						t.Error(err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got.Type != partition.NoTable || got.Partitions[0].Content.Type != second {
					t.Errorf("got %q", brief(got))
				}
				sameAsBlkid(t, image, got.Partitions[0])
			})
		}
	}
}
