package layout

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// EntryType is what an entry of a tar is.
type EntryType string

// The values of EntryType.
const (
	File        EntryType = "file"
	Folder      EntryType = "folder"
	Symlink     EntryType = "symlink"
	HardLink    EntryType = "hardlink" // one more name of an earlier entry, of whatever type
	CharDevice  EntryType = "char"
	BlockDevice EntryType = "block"
	Fifo        EntryType = "fifo"
)

// MaxPath is the longest path or link that entries hold, in bytes. Written in
// the longest way, six bytes for each, two of them still fit into a row.
const MaxPath = 64 << 10

var errTooLong = errors.New("too long")

// tarBlock is the unit of a tar stream, in bytes.
const tarBlock = 512

// TreeEntry is an entry of a tar. Which members it has depends on its type:
// those that the type does not have are zero.
type TreeEntry struct {
	Path         string // "a/b", any bytes but NUL; "" is the root
	Type         EntryType
	Mode         uint32 // permission bits with setuid, setgid and sticky: 07777
	UID, GID     uint32
	MTime        Timestamp
	Size         int64              // files: bytes of the content, holes too
	Link         string             // symlinks: the target; hard links: the path of the entry with the same inode
	Major, Minor uint32             // devices
	Xattrs       *[sha256.Size]byte // docs/format.md, "Digests"; nil: it has none, or is a hard link
	SHA256       *[sha256.Size]byte // files: of the content
	Runs         bool               // SHA256 is over runs of blocks that are not zero
	Sparse       bool               // files: stored without their holes
	Data         int64              // sparse files: bytes of data in the tar
	At           int64              // offset of the first header block in the tar
	Subvolume    bool               // folders: root of a btrfs subvolume
}

// Timestamp is a point in time: Sec seconds since 1970 and Nsec nanoseconds more.
type Timestamp struct {
	Sec  int64
	Nsec uint32
}

const perSecond = 1_000_000_000 // nanoseconds

// String is seconds with nine decimals: "-1.500000000" is one and a half seconds
// before 1970.
func (t Timestamp) String() string { return string(t.append(nil)) }

func (t Timestamp) append(b []byte) []byte {
	sec, nsec := uint64(t.Sec), uint64(t.Nsec)
	if t.Sec < 0 {
		b = append(b, '-')
		if sec = -sec; nsec > 0 {
			sec, nsec = sec-1, perSecond-nsec
		}
	}
	b = strconv.AppendUint(b, sec, 10)
	b = append(b, '.')
	for unit := uint64(perSecond / 10); unit > 0; unit /= 10 {
		b = append(b, byte('0'+nsec/unit%10))
	}
	return b
}

func parseTimestamp(text string) (Timestamp, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	sec, err := strconv.ParseUint(whole, 10, 64)
	nsec, errN := strconv.ParseUint(fraction, 10, 32)
	if err != nil || errN != nil || len(fraction) != 9 || sec > 1<<63 {
		return Timestamp{}, fmt.Errorf("%w: a time of %.40q", ErrDamaged, text)
	}
	if negative {
		if sec = -sec; nsec > 0 {
			sec, nsec = sec-1, perSecond-nsec
		}
	}
	t := Timestamp{Sec: int64(sec), Nsec: uint32(nsec)}
	if t.Sec != 0 && (t.Sec < 0) != negative { // not within int64
		return Timestamp{}, fmt.Errorf("%w: a time of %.40q", ErrDamaged, text)
	}
	return t, nil
}

// ComparePaths compares paths as entries are ordered: component by component, as
// bytes, so that "a" < "a/x" < "a.b". The root, "", is the first.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	switch {
	case i == n:
		return len(a) - len(b)
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	}
	return int(a[i]) - int(b[i])
}

// check holds an entry by itself to the rules.
func (t *TreeEntry) check() error {
	if err := checkPath(t.Path); err != nil {
		return err
	}
	device := t.Type == CharDevice || t.Type == BlockDevice
	linked := t.Type == Symlink || t.Type == HardLink
	file := t.Type == File
	switch {
	case !device && !linked && !file && t.Type != Folder && t.Type != Fifo:
		return fmt.Errorf("type is %q", t.Type)
	case t.Mode > 0o7777:
		return fmt.Errorf("mode is %o", t.Mode)
	case t.MTime.Nsec >= perSecond:
		return fmt.Errorf("mtime has %d nanoseconds", t.MTime.Nsec)
	case t.At < 0 || t.At%tarBlock != 0 || t.At > maxPlain:
		return fmt.Errorf("its header is at %d", t.At)
	case linked != (t.Link != ""):
		return fmt.Errorf("a %s with a link of %d bytes", t.Type, len(t.Link))
	case len(t.Link) > MaxPath:
		return fmt.Errorf("%w: a link of %d bytes; entries hold %d", errTooLong, len(t.Link), MaxPath)
	case file != (t.SHA256 != nil) || !file && (t.Size != 0 || t.Sparse):
		return fmt.Errorf("a %s with the size or the hash of a file, or a file without", t.Type)
	case t.Size < 0 || t.Data < 0 || t.Data > t.Size || !t.Sparse && (t.Data != 0 || t.Runs):
		return fmt.Errorf("a file of %d bytes with %d of data; stored sparse: %t, hashed so: %t", t.Size, t.Data, t.Sparse, t.Runs)
	case !device && t.Major|t.Minor != 0:
		return fmt.Errorf("a %s with the numbers of a device", t.Type)
	case t.Subvolume && t.Type != Folder, t.Xattrs != nil && t.Type == HardLink:
		return fmt.Errorf("a %s that is a subvolume or has xattrs", t.Type)
	case t.Type == HardLink && ComparePaths(t.Link, t.Path) >= 0:
		return fmt.Errorf("a hard link to %s, which does not come before it", quoted(t.Link))
	case t.Type == HardLink:
		return checkPath(t.Link)
	}
	return nil
}

// checkPath refuses what is not the one way to name a place below the root.
func checkPath(path string) error {
	if len(path) > MaxPath {
		return fmt.Errorf("%w: a path of %d bytes; entries hold %d", errTooLong, len(path), MaxPath)
	}
	if path == "" {
		return nil
	}
	from := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if path[i] == 0 {
				return errors.New("a path with a NUL")
			}
			continue
		}
		switch path[from:i] {
		case "", ".", "..":
			return fmt.Errorf("a path with a part %q", path[from:i])
		}
		from = i + 1
	}
	return nil
}

// quoted is a path in a message.
func quoted(path string) string {
	const most = 300
	if len(path) > most {
		return fmt.Sprintf("%q… (%d bytes)", "./"+path[:most], len(path))
	}
	return strconv.Quote("./" + path)
}
