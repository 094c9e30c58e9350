//go:build linux

package treetest_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "snap-to-s3/internal/filesystem/treetest"
)

// GNU tar's own archives, restored by itself: what this loses, GNU tar loses in
// writing; TestWhatGNUTarRestores says what it could have restored.
func TestGNUTarRoundTrip(t *testing.T) {
	for _, fs := range Filesystems() {
		t.Run(fs, func(t *testing.T) {
			from := Mounted(t, Image(t, fs, 400<<20), 0)
			Make(t, from, Options{Filesystem: fs, Huge: true})
			want := Read(t, from, ReadOptions{})
			archive := gnuTar(t, from)
			into := Mounted(t, Image(t, fs, 400<<20), 0)
			r := Untar(t, open(t, archive), into)
			if r.Code != 2 || strings.Count(r.Stderr, "File name too long") == 0 {
				t.Errorf("code %d, want 2 for the deep folders: %s", r.Code, r.Stderr)
			}
			for line := range strings.Lines(r.Stderr) {
				if !strings.Contains(line, "time stamp") && !strings.Contains(line, "File name too long") &&
					line != "tar: Exiting with failure status due to previous errors\n" {
					t.Errorf("unexpected message: %s", line)
				}
			}
			got := Diff(want, Read(t, into, ReadOptions{}), DiffOptions{})
			if expected := lostByGNUTar(fs, want); !slices.Equal(got, expected) {
				t.Errorf("differences\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(expected, "\n"))
			}
		})
	}
}

// lostByGNUTar are the differences that its own archives make, in order.
func lostByGNUTar(fs string, want []Record) []string {
	lost := []string{
		`"special/socket": missing: want a socket`,
		// It writes the text of a context and restores it with a zero behind, as the
		// SELinux tools do.
		`"xattrs/selinux without end": xattr "security.selinux": want "unconfined_u:object_r:user_home_t:s0", got "unconfined_u:object_r:user_home_t:s0\x00"`,
	}
	// It takes hard links for links of files and symlinks alone.
	for _, node := range [...]string{"block", "char", "fifo"} {
		lost = append(lost,
			`"links/`+node+`": links: want 2, got 1`,
			`"links/z/`+node+`": links: want 2, got 1`,
			`"links/z/`+node+`": hard link: want "links/`+node+`", got ""`)
	}
	// It looks for holes only in files with fewer blocks than their size needs.
	if fs != "ext2" && fs != "ext3" {
		lost = append(lost,
			`"sparse/unwritten": holes: want [], got [{0 1048576}]`,
			`"sparse/unwritten around data": holes: want [{1048576 4096}], got [{0 2097152}]`,
			`"sparse/unwritten then data": holes: want [{1040384 8192}], got [{0 1048576}]`,
			`"sparse/zeroed range": holes: want [{0 32768} {98304 32768}], got [{0 131072}]`)
	}
	// In restoring it takes whole paths, and those end at 4,095 bytes.
	var deep []Record
	for _, r := range want {
		if len("./"+r.Path) > 4095 {
			deep = append(deep, r)
		}
	}
	lost = append(lost, Diff(deep, nil, DiffOptions{})...)
	slices.SortStableFunc(lost, func(a, b string) int {
		return strings.Compare(a[:strings.Index(a, `":`)], b[:strings.Index(b, `":`)])
	})
	return lost
}

// The way to what lies too deep: into a folder on the way, without its path.
func TestGNUTarRestoresDeepFoldersInTwoSteps(t *testing.T) {
	from := Mounted(t, Image(t, "ext4", 64<<20), 0)
	others := []string{"names", "links", "symlinks", "sparse", "sizes", "acls", "owners", "times", "modes", "special", "xattrs", "many", "empty", "root"}
	Make(t, from, Options{Filesystem: "ext4", Without: others})
	want := Read(t, from, ReadOptions{})
	archive := gnuTar(t, from)
	into := Mounted(t, Image(t, "ext4", 64<<20), 0)
	if r := Untar(t, open(t, archive), into); r.Code != 2 {
		t.Fatalf("code %d: %s", r.Code, r.Stderr)
	}
	deepest := ""
	for _, r := range want {
		if r.Type == Folder && len(r.Path) > len(deepest) && len(r.Path) < 3000 {
			deepest = r.Path
		}
	}
	above := strings.Count(deepest, "/") + 2 // "." counts too
	run(t, "tar", append([]string{"-x", "-f", archive, "-C", filepath.Join(into, deepest), "--strip-components", strconv.Itoa(above), "-p", "--xattrs", "--xattrs-include=*"}, "./"+deepest)...)
	got := Diff(want, Read(t, into, ReadOptions{}), DiffOptions{})
	// The folder itself is not in the second step.
	if len(got) != 1 || !strings.HasPrefix(got[0], `"`+deepest+`": mtime:`) {
		t.Errorf("%q", got)
	}
}

func TestTarDiffAndBsdtar(t *testing.T) {
	from := Mounted(t, Image(t, "ext4", 300<<20), 0)
	// It reads each hole to its end.
	Make(t, from, Options{Filesystem: "ext4", Many: 5, Without: []string{"deep", "sparse", "sizes"}})
	archive := gnuTar(t, from)
	if r := TarDiff(t, open(t, archive), from); r.Code != 0 || r.Stdout != "" {
		t.Errorf("equal: code %d, %q", r.Code, r.Stdout)
	}
	if err := os.WriteFile(filepath.Join(from, "many", "f0000001"), []byte("FILE 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := TarDiff(t, open(t, archive), from); r.Code != 1 || !strings.Contains(r.Stdout, "./many/f0000001: Contents differ") {
		t.Errorf("changed: code %d, %q", r.Code, r.Stdout)
	}
	r := BsdtarList(t, open(t, archive))
	if !strings.Contains(r.Stdout, "./many/f0000004\n") {
		t.Errorf("code %d, not in the list: the last of many files", r.Code)
	}
	for line := range strings.Lines(r.Stderr) { // of names that are not UTF-8
		if !strings.Contains(line, "can't be converted from UTF-8") && !strings.Contains(line, "previous errors") {
			t.Errorf("unexpected message: %s", line)
		}
	}
}

func gnuTar(t *testing.T, from string) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "a.tar")
	run(t, "tar", "-c", "-f", archive, "--format=posix", "--sparse", "--acls", "--selinux",
		"--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", from, ".")
	return archive
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, errs.String())
	}
}
