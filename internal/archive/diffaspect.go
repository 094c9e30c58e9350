package archive

import (
	"fmt"
	"strconv"
	"time"

	"snap-to-s3/internal/filesystem"
)

// aspect is one thing in which two entries of one type may differ.
type aspect struct {
	kind DiffKind
	of   func(filesystem.Type) bool // which types have it; nil: all
	fine bool                       // the predecessor's tars cannot hold it
	same func(s, a *TreeRow, o DiffOptions) bool
	text func(r, other *TreeRow, o DiffOptions) string
}

var aspects = [...]aspect{
	{kind: DiffContent, of: isRegular, same: sameContent, text: contentText},
	{
		kind: DiffSize, of: isRegular,
		same: func(s, a *TreeRow, _ DiffOptions) bool { return s.Size == a.Size },
		text: func(r, _ *TreeRow, _ DiffOptions) string { return fmt.Sprintf("%d bytes", r.Size) },
	},
	{
		kind: DiffMode,
		same: func(s, a *TreeRow, _ DiffOptions) bool { return s.Mode == a.Mode },
		text: func(r, _ *TreeRow, _ DiffOptions) string { return fmt.Sprintf("%04o", r.Mode) },
	},
	{
		kind: DiffOwner,
		same: func(s, a *TreeRow, _ DiffOptions) bool { return s.UID == a.UID && s.GID == a.GID },
		text: func(r, _ *TreeRow, _ DiffOptions) string { return fmt.Sprintf("%d:%d", r.UID, r.GID) },
	},
	{
		kind: DiffTime,
		same: func(s, a *TreeRow, o DiffOptions) bool { return s.Sec == a.Sec && (o.Coarse || s.Nsec == a.Nsec) },
		text: timeText,
	},
	{
		kind: DiffTarget, of: func(t filesystem.Type) bool { return t == filesystem.Symlink },
		same: func(s, a *TreeRow, _ DiffOptions) bool { return s.Target == a.Target },
		text: func(r, _ *TreeRow, _ DiffOptions) string { return strconv.Quote(r.Target) },
	},
	{
		kind: DiffDevice, of: isDevice,
		same: func(s, a *TreeRow, _ DiffOptions) bool { return s.Major == a.Major && s.Minor == a.Minor },
		text: func(r, _ *TreeRow, _ DiffOptions) string { return fmt.Sprintf("%d:%d", r.Major, r.Minor) },
	},
	{
		kind: DiffXattrs, fine: true,
		same: func(s, a *TreeRow, _ DiffOptions) bool { return sameSum(s.XattrSum, a.XattrSum) },
		text: func(r, _ *TreeRow, _ DiffOptions) string { return sumText(r.XattrSum, "none") },
	},
	{
		kind: DiffHoles, of: isRegular, fine: true,
		same: func(s, a *TreeRow, _ DiffOptions) bool { return sameSum(s.Map, a.Map) },
		text: holesText,
	},
}

func isRegular(t filesystem.Type) bool { return t == filesystem.Regular }

func isDevice(t filesystem.Type) bool {
	return t == filesystem.CharDevice || t == filesystem.BlockDevice
}

// isNode says whether entries of a type are only a name for something of the
// kernel's.
func isNode(t filesystem.Type) bool { return isDevice(t) || t == filesystem.Fifo }

func sameSum(a, b *[32]byte) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// comparableSum returns the hash of r's content that is over the same as the
// other's: a file may have been stored whole that has more than 1 GiB of holes
// on the other side. nil: there is none.
func comparableSum(r, other *TreeRow) *[32]byte {
	if other.Runs && !r.Runs {
		return r.RunSum
	}
	return r.Sum
}

// sameContent leaves files of different sizes to DiffSize where their hashes
// cannot be compared. Files of one size whose hashes cannot be compared, or that
// have none, are not the same: nobody could say that they are.
func sameContent(s, a *TreeRow, _ DiffOptions) bool {
	of, with := comparableSum(s, a), comparableSum(a, s)
	if of == nil || with == nil {
		return s.Size != a.Size
	}
	return *of == *with
}

func contentText(r, other *TreeRow, _ DiffOptions) string {
	sum, over := comparableSum(r, other), ""
	if sum == nil {
		sum = r.Sum
	}
	if r.Runs || other.Runs && sum == r.RunSum {
		over = ", over runs"
	}
	return sumText(sum, "no hash") + over
}

func sumText(sum *[32]byte, none string) string {
	if sum == nil {
		return none
	}
	return fmt.Sprintf("sha256 %x", *sum)
}

// timeText gives years of four digits as RFC 3339 does, and others in seconds
// since 1970.
func timeText(r, _ *TreeRow, o DiffOptions) string {
	const first, last = -62167219200, 253402300799 // of the years 0 and 9999
	fraction := fmt.Sprintf(".%09d", r.Nsec)
	if o.Coarse {
		fraction = ""
	}
	if r.Sec < first || r.Sec > last {
		return fmt.Sprintf("%d seconds and %d ns since 1970", r.Sec, r.Nsec)
	}
	return time.Unix(r.Sec, 0).UTC().Format("2006-01-02T15:04:05") + fraction + "Z"
}

func holesText(r, _ *TreeRow, _ DiffOptions) string {
	if r.Map == nil {
		return "stored whole"
	}
	return fmt.Sprintf("%d of %d bytes are data, map sha256 %x", r.Stored, r.Size, *r.Map)
}

// whatIs says what an entry is.
func whatIs(r *TreeRow) string {
	if r.Link != "" {
		return fmt.Sprintf("hard link to %q", r.Link)
	}
	return what(r.Type)
}

func what(t filesystem.Type) string {
	names := [...]string{
		filesystem.Regular: "file", filesystem.Folder: "folder", filesystem.Symlink: "symlink", filesystem.CharDevice: "character device",
		filesystem.BlockDevice: "block device", filesystem.Fifo: "fifo", filesystem.Socket: "socket",
	}
	if int(t) >= len(names) || names[t] == "" {
		return fmt.Sprintf("entry of type %d", t)
	}
	return names[t]
}
