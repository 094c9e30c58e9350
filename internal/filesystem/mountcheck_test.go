package filesystem

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/hint"
)

// deviceWith is a file with bytes at an offset.
func deviceWith(t *testing.T, size, at int64, content []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, at); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBtrfsSuperblock(t *testing.T) {
	t.Parallel()
	block := func(magic string, devices uint64) []byte {
		b := make([]byte, btrfsDevices+8)
		for i := range 16 {
			b[btrfsID+i] = byte(0xa0 + i)
		}
		copy(b[btrfsMagic:], magic)
		binary.LittleEndian.PutUint64(b[btrfsDevices:], devices)
		return b
	}
	const id, magic = "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf", "_BHRfS_M"
	for name, c := range map[string]struct {
		block []byte
		size  int64
		uuid  string
		text  string // of the error
	}{
		"one device":    {block(magic, 1), 1 << 20, "", ""},
		"as found":      {block(magic, 1), 1 << 20, strings.ToUpper(id), ""},
		"another":       {block(magic, 1), 1 << 20, "b" + id[1:], "not b"},
		"two devices":   {block(magic, 2), 1 << 20, "", "on 2 devices"},
		"no device":     {block(magic, 0), 1 << 20, "", "on 0 devices"},
		"no magic":      {block("_BHRfS_N", 1), 1 << 20, "", "no btrfs superblock"},
		"small":         {block(magic, 1), 64 << 10, "", "too small"},
		"ends too soon": {block(magic, 1)[:8], 1 << 30, "", "superblock"},
	} {
		f := deviceWith(t, 0, 4096+btrfsSuperblock, c.block)
		got, err := checkBtrfs(f, MountRequest{Type: "btrfs", Offset: 4096, Size: c.size, UUID: c.uuid})
		if c.text == "" && (got != id || err != nil) || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.text)
		}
	}
}

// Kernels that know temp_fsid tell copies apart.
func TestBtrfsOfTheHost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		there   []string
		refused bool
	}{
		"nothing":          {nil, false},
		"another":          {[]string{"other", "features"}, false},
		"mounted, old":     {[]string{"id", "features"}, true},
		"mounted, new":     {[]string{"id", "features/temp_fsid"}, false},
		"not mounted, new": {[]string{"features/temp_fsid"}, false},
	} {
		sys := t.TempDir()
		for _, p := range c.there {
			if err := os.MkdirAll(filepath.Join(sys, p), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := checkBtrfsHost(sys, "id")
		if (err != nil) != c.refused || err != nil && hint.Of(err) == "" {
			t.Errorf("%s: %v (hint %q), want refused: %t", name, err, hint.Of(err), c.refused)
		}
	}
}

func TestJFSSuperblock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		magic string
		state uint32
		text  string
	}{
		"clean":   {"JFS1", 0, ""},
		"mounted": {"JFS1", 1, "wrong tree"},
		"dirty":   {"JFS1", 2, "wrong tree"},
		"none":    {"JFSX", 0, "no jfs superblock"},
	} {
		block := make([]byte, jfsState+4)
		copy(block, c.magic)
		binary.LittleEndian.PutUint32(block[jfsState:], c.state)
		err := checkContent(deviceWith(t, 1<<20, jfsSuperblock, block), MountRequest{Type: "jfs", Size: 1 << 20})
		if c.text == "" && err != nil || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %v, want %q", name, err, c.text)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, typ := range known {
		text := optionText(MountRequest{Type: typ})
		for _, refused := range []string{"noload", "norecovery", "nologreplay", "rw"} {
			if strings.Contains(text, refused) {
				t.Errorf("%s is mounted with %s", typ, text)
			}
		}
	}
	for typ, want := range map[string]string{
		"ext3": "errors=continue", "xfs": "nouuid", "btrfs": "subvolid=5", "f2fs": "", "vfat": "utf8=1,tz=UTC,umask=0022",
	} {
		if got := optionText(MountRequest{Type: typ}); got != want {
			t.Errorf("%s: options %q, want %q", typ, got, want)
		}
	}
	for _, typ := range known { // it says which subvolume, and nothing else
		want := optionText(MountRequest{Type: typ})
		if typ == "btrfs" {
			want = ""
		}
		if got := optionText(MountRequest{Type: typ, Default: true}); got != want {
			t.Errorf("%s by default: options %q, want %q", typ, got, want)
		}
	}
}
