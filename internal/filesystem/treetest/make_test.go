//go:build linux

package treetest_test

import (
	"strings"
	"testing"

	. "snap-to-s3/internal/filesystem/treetest"
)

// Make itself fails where a filesystem refuses more or less than expected; here
// each folder must be in what Read finds.
func TestMake(t *testing.T) {
	for _, fs := range Filesystems() {
		t.Run(fs, func(t *testing.T) {
			at := Mounted(t, Image(t, fs, 400<<20), 0)
			Make(t, at, Options{Filesystem: fs, Huge: true})
			entries, types := map[string]int{}, map[string]int{}
			longest, largest := 0, int64(0)
			for _, r := range Read(t, at, ReadOptions{}) {
				top, _, _ := strings.Cut(r.Path, "/")
				entries[top]++
				types[r.Type]++
				longest, largest = max(longest, len(r.Path)), max(largest, r.Size)
			}
			for _, f := range [...]string{
				"names", "deep", "links", "symlinks", "sparse", "sizes", "acls", "owners", "times", "modes", "special", "xattrs", "empty", "huge",
			} {
				if entries[f] < 2 {
					t.Errorf("%s has %d entries", f, entries[f])
				}
			}
			if entries["many"] != 2001 || longest < 5000 || largest < 1<<40 {
				t.Errorf("many %d, longest path %d, largest file %d", entries["many"], longest, largest)
			}
			if len(types) != 7 {
				t.Errorf("types: %v", types)
			}
		})
	}
}

// Other blocks and inodes hold other cases; a test of those says so itself.
func TestMakeOnSmallBlocks(t *testing.T) {
	at := Mounted(t, Image(t, "ext4", 64<<20, "-b", "1024", "-O", "inline_data"), 0)
	var refused []string
	for _, r := range Refusals("ext4") {
		if strings.HasPrefix(r, "xattrs") {
			refused = append(refused, r)
		}
	}
	refused = append(refused, "xattrs value 1000: ENOSPC", "xattrs value 3000: ENOSPC")
	Make(t, at, Options{Filesystem: "ext4", Many: 10, Refused: refused, Without: []string{
		"names", "deep", "links", "symlinks", "sparse", "sizes", "acls", "owners", "times", "modes", "special",
	}})
}
