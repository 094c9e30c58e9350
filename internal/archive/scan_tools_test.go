package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/filesystem/treetest"
)

// Whatever a filesystem holds, what is read back is what was written.
func TestScanReadsAWholeTree(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			from := treetest.Mounted(t, treetest.Image(t, fs, 400<<20), 0)
			treetest.Make(t, from, treetest.Options{Filesystem: fs, Huge: true})
			path, rows := archived(t, from)
			i := 0
			if _, err := archive.ScanTree(t.Context(), plainOf(t, path), archive.ScanOptions{}, func(got *archive.TreeRow) error {
				want := rows.entries[i]
				i++
				want.Allocated, want.Links, want.Device, want.Inode, want.Subvolume = 0, 0, 0, 0, false
				if want.Type == filesystem.Folder {
					want.Size = 0
				}
				if want.Link != "" {
					want.Type, want.Size, want.Target, want.Major, want.Minor, want.Sparse = filesystem.Regular, 0, "", 0, 0, false
				}
				got.RunSum = nil // of files of more than 1 GiB that are stored whole
				if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(filesystem.Entry{})); diff != "" {
					t.Errorf("%.300q: %s", want.Path, diff)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if i != len(rows.entries) {
				t.Errorf("%d rows of %d", i, len(rows.entries))
			}
		})
	}
}

// tool is one way to make a tar of a folder.
type tool struct {
	name   string
	args   []string
	nanos  bool // it holds fractions of seconds,
	xattrs bool // attributes,
	holes  bool // and holes
	little bool // it holds no devices, long names, large ids and early times
}

func tools() []tool {
	gnu := []string{"tar", "-c", "-f", "-"}
	bsd := []string{"bsdtar", "-c", "-f", "-"}
	with := func(base []string, more ...string) []string {
		return append(append([]string{}, base...), more...)
	}
	attributes := []string{"--acls", "--xattrs", "--xattrs-include=*", "--selinux"}
	return []tool{
		{name: "tar", args: gnu}, // as the predecessor ran it
		{name: "tar-gnu-sparse", args: with(gnu, "--format=gnu", "--sparse"), holes: true},
		{name: "tar-oldgnu", args: with(gnu, "--format=oldgnu", "--sparse"), holes: true},
		{name: "tar-numeric", args: with(gnu, "--format=gnu", "--numeric-owner", "-b", "1")},
		{name: "tar-v7", args: with(gnu, "--format=v7"), little: true},
		{name: "tar-ustar", args: with(gnu, "--format=ustar"), little: true},
		{name: "tar-posix", args: with(gnu, "--format=posix"), nanos: true},
		{name: "tar-posix-1.0", args: with(gnu, append(attributes, "--format=posix", "--sparse")...), nanos: true, holes: true, xattrs: true},
		{name: "tar-posix-0.1", args: with(gnu, "--format=posix", "--sparse", "--sparse-version=0.1"), nanos: true, holes: true},
		{name: "tar-posix-0.0", args: with(gnu, "--format=posix", "--sparse", "--sparse-version=0.0"), nanos: true, holes: true},
		{name: "tar-hard-dereference", args: with(gnu, "--format=posix", "--hard-dereference"), nanos: true},
		{name: "bsdtar-pax", args: with(bsd, "--format=pax", "--acls", "--xattrs"), nanos: true, xattrs: true, holes: true},
		{name: "bsdtar-gnutar", args: with(bsd, "--format=gnutar")},
		{name: "bsdtar-ustar", args: with(bsd, "--format=ustar"), little: true},
		{name: "bsdtar-v7", args: with(bsd, "--format=v7"), little: true},
	}
}

// makeForTools fills a folder: little holds what every format can say.
func makeForTools(t *testing.T, dir string, little bool) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) { must(os.WriteFile(at(name), content, 0o640)) }
	for _, size := range []int{0, 1, 511, 512, 513, 70_000, 2<<20 + 5} {
		write(fmt.Sprint("size-", size), bytes.Repeat([]byte{byte(size) | 1}, size))
	}
	must(os.MkdirAll(at("folder/empty"), 0o1777))
	write("folder/setuid", []byte("x"))
	must(os.Chmod(at("folder/setuid"), 0o4755|os.ModeSetuid))
	write("bytes \xff\x01\n", []byte("y"))
	must(os.Symlink("nowhere/at all", at("symlink")))
	must(os.Link(at("size-513"), at("zz-link")))
	must(os.Link(at("size-513"), at("folder/link")))
	must(os.Chtimes(at("size-1"), time.Time{}, time.Unix(1_000_000_000, 123456789)))
	must(os.Chown(at("size-1"), 1000, 1001))
	if little {
		return
	}
	must(os.Link(at("symlink"), at("symlink-link")))
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(unix.Mknod(at("char"), unix.S_IFCHR|0o620, int(unix.Mkdev(5, 300))))
	must(unix.Mknod(at("block"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70_000))))
	must(os.Link(at("char"), at("char-link")))
	must(os.Chown(at("size-511"), 4294967294, 1<<22))
	must(os.Chtimes(at("size-512"), time.Time{}, time.Unix(-1_000_000, 250_000_000)))
	deep := strings.Repeat("deeper/", 40)
	must(os.MkdirAll(at(deep), 0o755))
	write(deep+strings.Repeat("n", 250), []byte("deep"))
	must(os.Symlink(strings.Repeat("t", 300), at(deep+"symlink")))
	must(os.Link(at(deep+strings.Repeat("n", 250)), at(deep+"link")))
	for name, size := range map[string]int64{"hole": 1 << 20, "hole-odd": 1<<20 + 7, "islands": 3 << 20, "tail": 1<<20 + 9} {
		write(name, nil)
		must(os.Truncate(at(name), size))
	}
	f, err := os.OpenFile(at("islands"), os.O_WRONLY, 0)
	must(err)
	defer f.Close()
	for i := range int64(60) {
		_, err = f.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 4096), 8192+i*16384)
		must(err)
	}
	tail, err := os.OpenFile(at("tail"), os.O_WRONLY, 0)
	must(err)
	defer tail.Close()
	_, err = tail.WriteAt([]byte("end of it"), 1<<20)
	must(err)
	for name, value := range map[string]string{"user.plain": "value", "user.a%b=c": "x=\x00\n", "user.empty": "", "security.selinux": "system_u:object_r:etc_t:s0"} {
		must(unix.Lsetxattr(at("folder/setuid"), name, []byte(value), 0))
	}
	if _, err := exec.LookPath("setfacl"); err == nil {
		for _, args := range [][]string{{"-m", "u:0:r,u:54321:rw,g:12345:-", at("size-70000")}, {"-d", "-m", "u:777:rwx", at("folder")}, {"-m", "u:778:rwx", at("folder/empty")}} {
			if out, err := exec.Command("setfacl", args...).CombinedOutput(); err != nil {
				t.Fatalf("setfacl: %v: %s", err, out)
			}
		}
	}
}

// What other programs archive is read as our own walk of the same folder has it.
func TestScanReadsOthersTars(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("devices and owners need root")
	}
	for _, tool := range tools() {
		t.Run(tool.name, func(t *testing.T) {
			treetest.RequirePrograms(t, tool.args[0])
			dir := treetest.Mounted(t, treetest.Image(t, "ext4", 64<<20), 0)
			if err := os.Remove(filepath.Join(dir, "lost+found")); err != nil {
				t.Fatal(err)
			}
			makeForTools(t, dir, tool.little)
			want := map[string]*archive.TreeRow{}
			if _, err := archive.SumTree(t.Context(), openTree(t, dir), archive.TreeOptions{}, func(r *archive.TreeRow) error {
				want[r.Path] = r
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			plain := runTool(t.Context(), t, tool, dir)
			seen := map[string]bool{}
			if _, err := archive.ScanTree(t.Context(), bytes.NewReader(plain), archive.ScanOptions{}, func(got *archive.TreeRow) error {
				w := want[got.Path]
				if w == nil || seen[got.Path] {
					t.Fatalf("%q is not there, or twice", got.Path)
				}
				seen[got.Path] = true
				compareWith(t, tool, got, w, want)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(seen) != len(want) {
				t.Errorf("%d entries of %d", len(seen), len(want))
			}
		})
	}
}

func runTool(ctx context.Context, t *testing.T, tool tool, dir string) []byte {
	t.Helper()
	cmd := exec.CommandContext(ctx, tool.args[0], append(tool.args[1:], "-C", dir, ".")...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8", "TAR_OPTIONS=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// bsdtar warns of names that are not UTF-8, and archives them.
	if err := cmd.Run(); err != nil && !(tool.args[0] == "bsdtar" && strings.Contains(errs.String(), "UTF-8")) {
		t.Fatalf("%v: %v: %s", tool.args, err, errs.String())
	}
	return out.Bytes()
}

// compareWith compares a row with the walk's, in what the format holds.
func compareWith(t *testing.T, tool tool, got, w *archive.TreeRow, all map[string]*archive.TreeRow) {
	t.Helper()
	want, have := *w, *got
	if have.Link != "" {
		first := all[have.Link]
		if first == nil || first.Inode != want.Inode || have.Link == have.Path {
			t.Errorf("%q is a link to %q", have.Path, have.Link)
		}
		have.Type, have.Size, have.Target, have.Major, have.Minor = want.Type, want.Size, want.Target, want.Major, want.Minor
	} else if want.Link != "" { // who came first is the walk's first's content
		want.Sum, want.XattrSum, want.Map, want.Stored = all[want.Link].Sum, all[want.Link].XattrSum, all[want.Link].Map, all[want.Link].Stored
	}
	if have.Link != "" {
		want.Sum, want.XattrSum, want.Map, want.Stored, want.Sparse = nil, nil, nil, 0, false
	}
	want.Allocated, want.Links, want.Device, want.Inode, want.Subvolume, want.At, want.Link = 0, 0, 0, 0, false, have.At, have.Link
	if want.Type == filesystem.Folder {
		want.Size = 0
	}
	if !tool.nanos {
		want.Nsec = 0
	}
	if !tool.xattrs {
		want.XattrSum = nil
	}
	if !tool.holes {
		want.Sparse, want.Map, want.Stored = false, nil, 0
	}
	if tool.args[0] == "bsdtar" { // what it gets wrong itself
		if acls := want.Path == "size-70000" || want.Path == "folder/empty"; acls {
			want.Mode = have.Mode // it writes the group of the ACL, which may be less than the mask
		}
		if want.Sec < 0 { // its fraction has the wrong sign, and its gnutar has no times before 1970
			want.Sec, want.Nsec = have.Sec, have.Nsec
		}
	}
	if diff := cmp.Diff(want, have, cmpopts.IgnoreUnexported(filesystem.Entry{})); diff != "" {
		t.Errorf("%q: %s", have.Path, diff)
	}
}
