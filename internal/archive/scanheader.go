package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/layout"
)

// The type flags that are read and not written: POSIX.1-2017, pax; and GNU tar's
// manual, "Basic Tar Format".
const (
	flagOldRegular = 0
	flagSymlink    = '2'
	flagChar       = '3'
	flagBlock      = '4'
	flagFolder     = '5'
	flagFifo       = '6'
	flagContiguous = '7'
	flagGlobal     = 'g'
	flagLongName   = 'L'
	flagLongLink   = 'K'
	flagSparse     = 'S'
)

// tarFormat is what the magic of a header says. v7 has none, and nothing behind it.
type tarFormat byte

const (
	formatV7 tarFormat = iota
	formatUSTAR
	formatGNU
)

// tarHeader is a header block. Its slices are lent.
type tarHeader struct {
	block      []byte
	format     tarFormat
	flag       byte
	mode       uint32
	uid, gid   uint32
	size, time int64
}

// parseHeader reads a block that is not all zeros.
func parseHeader(b []byte) (tarHeader, error) {
	h := tarHeader{block: b, flag: b[156]}
	if err := checkSum(b); err != nil {
		return h, err
	}
	switch magic := b[257:265]; {
	case string(magic) == "ustar\x0000":
		h.format = formatUSTAR
	case string(magic) == "ustar  \x00":
		h.format = formatGNU
	case string(magic[:5]) == "ustar":
		return h, fmt.Errorf("a header of the unknown kind %q", magic)
	}
	mode, err := field(b[100:108], "mode", 0, 0o177777) // some programs put the type before it
	if err != nil {
		return h, err
	}
	uid, err := field(b[108:116], "uid", 0, math.MaxUint32)
	if err != nil {
		return h, err
	}
	gid, err := field(b[116:124], "gid", 0, math.MaxUint32)
	if err != nil {
		return h, err
	}
	h.mode, h.uid, h.gid = uint32(mode)&0o7777, uint32(uid), uint32(gid)
	if h.size, err = field(b[124:136], "size", 0, math.MaxInt64); err != nil {
		return h, err
	}
	h.time, err = field(b[136:148], "mtime", math.MinInt64, math.MaxInt64)
	return h, err
}

// checkSum takes the checksum in the one form that all programs write: six digits,
// NUL, blank. In any other form a changed bit might be no change.
func checkSum(b []byte) error {
	f := b[148:156]
	want := int64(0)
	for _, d := range f[:6] {
		if d < '0' || d > '7' {
			return errors.New("no header of a tar: it has no checksum")
		}
		want = want<<3 | int64(d-'0')
	}
	sum := byteSum(b) + 8*' '
	for _, d := range f {
		sum -= int64(d)
	}
	if f[6] != 0 || f[7] != ' ' || sum != want {
		return fmt.Errorf("a header whose checksum is %o and should be %.8q", sum, f)
	}
	return nil
}

// field is a number of a header.
func field(f []byte, name string, least, most int64) (int64, error) {
	n, ok := headerNumber(f)
	if !ok || n < least || n > most {
		return 0, fmt.Errorf("a header with the %s %q", name, f)
	}
	return n, nil
}

// headerNumber reads octal digits between blanks and NULs; none are zero. What GNU
// tar and bsdtar cannot say with these is in base 256, marked by the first byte.
func headerNumber(f []byte) (int64, bool) {
	if f[0] >= 0x80 {
		return base256(f)
	}
	i, n := 0, int64(0)
	for i < len(f) && f[i] == ' ' {
		i++
	}
	for ; i < len(f) && f[i] >= '0' && f[i] <= '7'; i++ {
		n = n<<3 | int64(f[i]-'0') // 12 digits at most
	}
	for ; i < len(f); i++ {
		if f[i] != 0 && f[i] != ' ' {
			return 0, false
		}
	}
	return n, true
}

// base256 is a big-endian number whose first byte is 0x80, or 0xFF of one below
// zero (GNU tar manual, "Extensions").
func base256(f []byte) (int64, bool) {
	fill := byte(0)
	switch f[0] {
	case 0x80:
	case 0xFF:
		fill = 0xFF
	default:
		return 0, false
	}
	var room [12]byte
	all := room[:max(len(f), 8)]
	for i := range all {
		all[i] = fill
	}
	copy(all[len(all)-len(f)+1:], f[1:])
	high, low := all[:len(all)-8], int64(binary.BigEndian.Uint64(all[len(all)-8:]))
	for _, b := range high {
		if b != fill {
			return 0, false
		}
	}
	return low, (low < 0) == (fill != 0)
}

// cString is a field up to its first NUL.
func cString(f []byte) []byte {
	if end := bytes.IndexByte(f, 0); end >= 0 {
		return f[:end]
	}
	return f
}

// appendName appends the name that the header itself has.
func (h *tarHeader) appendName(b []byte) []byte {
	if h.format == formatUSTAR {
		if prefix := cString(h.block[345:500]); len(prefix) > 0 {
			b = append(append(b, prefix...), '/')
		}
	}
	return append(b, cString(h.block[:nameField])...)
}

func (h *tarHeader) link() []byte { return cString(h.block[157:257]) }

func (h *tarHeader) device() (major, minor uint32, err error) {
	first, err := field(h.block[329:337], "major device number", 0, math.MaxUint32)
	if err != nil {
		return 0, 0, err
	}
	second, err := field(h.block[337:345], "minor device number", 0, math.MaxUint32)
	return uint32(first), uint32(second), err
}

// entryType is what a header is of. A hard link is a regular file here; and so is,
// before its name was looked at, a folder in the form of v7.
func (h *tarHeader) entryType() (filesystem.Type, error) {
	switch {
	case h.flag == flagSparse && h.format != formatGNU, h.format == formatV7 && h.flag > flagSymlink && h.flag != flagFolder:
		return 0, fmt.Errorf("an entry of type %q, which its format does not have", h.flag)
	}
	switch h.flag {
	case flagOldRegular, flagRegular, flagContiguous, flagSparse, flagLink:
		return filesystem.Regular, nil
	case flagSymlink:
		return filesystem.Symlink, nil
	case flagChar:
		return filesystem.CharDevice, nil
	case flagBlock:
		return filesystem.BlockDevice, nil
	case flagFolder:
		return filesystem.Folder, nil
	case flagFifo:
		return filesystem.Fifo, nil
	case 'D':
		return 0, errors.New("a folder of an incremental archive of GNU tar (type 'D'), which is not read here")
	case 'M', 'V':
		return 0, fmt.Errorf("a part or a label of an archive of several volumes (type %q), which is not read here", h.flag)
	}
	return 0, fmt.Errorf("an entry of the unknown type %q", h.flag)
}

// scanPath turns the name of an entry into its path, "" for the root. Names that
// lead elsewhere, or that could be written shorter, are refused: two of them
// might be one file.
func scanPath(raw string, folder bool) (string, error) {
	if folder && (raw == "." || raw == "./") {
		return "", nil
	}
	path := strings.TrimPrefix(raw, "./")
	if folder {
		path = strings.TrimSuffix(path, "/")
	}
	switch {
	case len(path) > layout.MaxPath:
		return "", fmt.Errorf("a name of %d bytes, and %d are the most", len(path), layout.MaxPath)
	case strings.IndexByte(path, 0) >= 0:
		return "", fmt.Errorf("the name %.300q has a NUL in it", raw)
	case strings.HasPrefix(raw, "/"):
		return "", fmt.Errorf("the name %.300q is absolute", raw)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("the name %.300q has the part %q", raw, part)
		}
	}
	return path, nil
}
