package layout

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// treeRow has the members of the row of an entry. It is for reading: writing
// goes by hand, as reflection would be the slowest part of archiving small files.
type treeRow struct {
	Path      *string   `json:"path"`
	PathB64   []byte    `json:"path_b64"`
	Type      EntryType `json:"type"`
	Mode      *uint32   `json:"mode"`
	UID       *uint32   `json:"uid"`
	GID       *uint32   `json:"gid"`
	MTime     string    `json:"mtime"`
	Size      *int64    `json:"size"`
	Link      *string   `json:"link"`
	LinkB64   []byte    `json:"link_b64"`
	Major     *uint32   `json:"major"`
	Minor     *uint32   `json:"minor"`
	Xattrs    []byte    `json:"xattrs"`
	SHA256    []byte    `json:"sha256"`
	Runs      bool      `json:"runs"`
	Data      *int64    `json:"data"`
	At        *int64    `json:"at"`
	Subvolume bool      `json:"subvolume"`
}

// rootPath stands for the root, whose path is empty.
const rootPath = "."

// appendEntry appends the row of an entry that was checked.
func appendEntry(b []byte, t *TreeEntry) []byte {
	path := t.Path
	if path == "" {
		path = rootPath
	}
	b = append(b, '{')
	b = appendName(b, "path", path)
	b = append(b, `,"type":"`...)
	b = append(b, t.Type...)
	b = append(b, '"')
	b = appendNumber(b, "mode", int64(t.Mode))
	b = appendNumber(b, "uid", int64(t.UID))
	b = appendNumber(b, "gid", int64(t.GID))
	b = append(b, `,"mtime":"`...)
	b = t.MTime.append(b)
	b = append(b, '"')
	switch t.Type {
	case File:
		b = appendNumber(b, "size", t.Size)
	case Symlink, HardLink:
		b = appendName(append(b, ','), "link", t.Link)
	case CharDevice, BlockDevice:
		b = appendNumber(b, "major", int64(t.Major))
		b = appendNumber(b, "minor", int64(t.Minor))
	}
	b = appendSum(b, "xattrs", t.Xattrs)
	b = appendSum(b, "sha256", t.SHA256)
	if t.Runs {
		b = append(b, `,"runs":true`...)
	}
	if t.Sparse {
		b = appendNumber(b, "data", t.Data)
	}
	b = appendNumber(b, "at", t.At)
	if t.Subvolume {
		b = append(b, `,"subvolume":true`...)
	}
	return append(b, "}\n"...)
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, n, 10)
}

func appendSum(b []byte, name string, sum *[sha256.Size]byte) []byte {
	if sum == nil {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	return append(b, '"')
}

// appendName appends a member of any bytes: what is not UTF-8, and so nothing
// that JSON can hold, is a member of another name in Base64.
func appendName(b []byte, name, value string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	if !utf8.ValidString(value) {
		b = append(b, `_b64":"`...)
		b = base64.StdEncoding.AppendEncode(b, []byte(value))
		return append(b, '"')
	}
	b = append(b, `":"`...)
	from := 0
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7F && c != 0xC2 {
			continue
		}
		n := 1
		switch {
		case c == 0xC2:
			// U+0080 to U+009F are control characters of terminals.
			if value[i+1] >= 0xA0 {
				continue
			}
			c, n = value[i+1], 2
		case c == '"', c == '\\':
			b = append(b, value[from:i]...)
			b = append(b, '\\', c)
			from = i + 1
			continue
		}
		const hex = "0123456789abcdef"
		b = append(b, value[from:i]...)
		b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		from, i = i+n, i+n-1
	}
	b = append(b, value[from:]...)
	return append(b, '"')
}

// parseEntry reads the row of an entry, and says if members are missing, or are
// there that its type does not have. What they say is checked by the tally.
func parseEntry(line []byte) (*TreeEntry, error) {
	var r treeRow
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	path, err := textOf("path", r.Path, r.PathB64)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fmt.Errorf("%w: an entry with an empty path", ErrDamaged)
	}
	if path == rootPath {
		path = ""
	}
	t := &TreeEntry{Path: path, Type: r.Type, Runs: r.Runs, Subvolume: r.Subvolume}
	if err := r.fill(t); err != nil {
		return nil, fmt.Errorf("entry %s: %w", quoted(path), err)
	}
	return t, nil
}

func (r *treeRow) fill(t *TreeEntry) (err error) {
	device := t.Type == CharDevice || t.Type == BlockDevice
	linked := r.Link != nil || r.LinkB64 != nil
	switch {
	case r.Mode == nil || r.UID == nil || r.GID == nil || r.At == nil:
		return fmt.Errorf("%w: no mode, uid, gid or at", ErrDamaged)
	case (r.Size != nil) != (t.Type == File), r.Data != nil && t.Type != File,
		(r.Major != nil) != device, (r.Minor != nil) != device,
		linked != (t.Type == Symlink || t.Type == HardLink):
		return fmt.Errorf("%w: a member is missing, or not one of type %q", ErrDamaged, t.Type)
	}
	t.Mode, t.UID, t.GID, t.At = *r.Mode, *r.UID, *r.GID, *r.At
	switch {
	case linked:
		if t.Link, err = textOf("link", r.Link, r.LinkB64); err != nil {
			return err
		}
	case device:
		t.Major, t.Minor = *r.Major, *r.Minor
	case t.Type == File:
		t.Size, t.Sparse = *r.Size, r.Data != nil
		if t.Sparse {
			t.Data = *r.Data
		}
	}
	if t.MTime, err = parseTimestamp(r.MTime); err != nil {
		return err
	}
	if t.Xattrs, err = sumOf("xattrs", r.Xattrs); err != nil {
		return err
	}
	t.SHA256, err = sumOf("sha256", r.SHA256)
	return err
}

// textOf is what a member of any bytes holds, in one of its two forms.
func textOf(name string, text *string, coded []byte) (string, error) {
	switch {
	case text != nil && coded == nil:
		return *text, nil
	case text == nil && coded != nil:
		return string(coded), nil
	}
	return "", fmt.Errorf("%w: %s or %s_b64 is missing, or there are both", ErrDamaged, name, name)
}

func sumOf(name string, b []byte) (*[sha256.Size]byte, error) {
	switch len(b) {
	case 0:
		return nil, nil
	case sha256.Size:
		return (*[sha256.Size]byte)(b), nil
	}
	return nil, fmt.Errorf("%w: %s has %d bytes", ErrDamaged, name, len(b))
}
