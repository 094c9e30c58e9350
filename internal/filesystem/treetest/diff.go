//go:build linux

package treetest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DiffOptions say what does not count.
type DiffOptions struct {
	IgnoreSockets bool     // a tar cannot hold them
	IgnoreHoles   bool     // where the two filesystems have other block sizes
	Without       []string // paths that are left out, with all below
}

// Diff names every difference, one a line, as "path: kind: want …, got …". The
// kinds: missing, extra, type, mode, owner, mtime, size, links, hard link,
// target, device, xattr, content, holes.
func Diff(want, got []Record, o DiffOptions) []string {
	wanted, there := o.index(want), o.index(got)
	var lines []string
	paths := slices.Collect(maps.Keys(wanted))
	for p := range there {
		if _, known := wanted[p]; !known {
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, cmp.Compare)
	for _, p := range paths {
		w, isWanted := wanted[p]
		g, isThere := there[p]
		switch {
		case !isThere:
			lines = append(lines, fmt.Sprintf("%q: missing: want a %s", p, w.Type))
		case !isWanted:
			lines = append(lines, fmt.Sprintf("%q: extra: got a %s", p, g.Type))
		default:
			lines = append(lines, o.entry(w, g)...)
		}
	}
	return lines
}

func (o DiffOptions) index(records []Record) map[string]Record {
	byPath := make(map[string]Record, len(records))
	for _, r := range records {
		out := o.IgnoreSockets && r.Type == Socket || slices.ContainsFunc(o.Without, func(p string) bool {
			return r.Path == p || strings.HasPrefix(r.Path, p+"/")
		})
		if !out {
			byPath[r.Path] = r
		}
	}
	return byPath
}

func (o DiffOptions) entry(want, got Record) []string {
	var lines []string
	differ := func(kind, w, g string) {
		if w != g {
			lines = append(lines, fmt.Sprintf("%q: %s: want %s, got %s", want.Path, kind, w, g))
		}
	}
	differ("type", want.Type, got.Type)
	if want.Type != got.Type {
		return lines // what else they have cannot be compared
	}
	differ("mode", fmt.Sprintf("%04o", want.Mode), fmt.Sprintf("%04o", got.Mode))
	differ("owner", fmt.Sprintf("%d:%d", want.UID, want.GID), fmt.Sprintf("%d:%d", got.UID, got.GID))
	differ("mtime", want.Mtime.String(), got.Mtime.String())
	differ("size", fmt.Sprint(want.Size), fmt.Sprint(got.Size))
	differ("links", fmt.Sprint(want.Nlink), fmt.Sprint(got.Nlink))
	differ("hard link", quoteLong(want.Link), quoteLong(got.Link))
	differ("target", quoteLong(want.Target), quoteLong(got.Target))
	differ("device", fmt.Sprintf("%d:%d", want.Major, want.Minor), fmt.Sprintf("%d:%d", got.Major, got.Minor))
	names := slices.Collect(maps.Keys(want.Xattrs))
	names = append(names, slices.Collect(maps.Keys(got.Xattrs))...)
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		differ(fmt.Sprintf("xattr %q", n), value(want.Xattrs, n), value(got.Xattrs, n))
	}
	differ("content", want.Content, got.Content)
	if !o.IgnoreHoles {
		differ("holes", pieces(want.Data), pieces(got.Data))
	}
	return lines
}

// String is the time as GNU tar and stat write it.
func (t Time) String() string { return fmt.Sprintf("%d+%09dns", t.Sec, t.Nsec) }

func value(xattrs map[string]string, name string) string {
	v, ok := xattrs[name]
	if !ok {
		return "none"
	}
	return quoteLong(v)
}

// quoteLong shortens what a person would not read, and still tells any two
// values apart.
func quoteLong(s string) string {
	if len(s) <= 200 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q… (%d bytes, %s)", s[:60], len(s), digest(s))
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256 " + hex.EncodeToString(sum[:6])
}

func pieces(data []Extent) string {
	const most = 6
	s := fmt.Sprint(data)
	if len(data) <= most {
		return s
	}
	return fmt.Sprintf("%v… (%d pieces, %s)", data[:most], len(data), digest(s))
}
