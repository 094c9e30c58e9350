package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"snap-to-s3/internal/filesystem"
)

// tarBlock is the unit of a tar stream in bytes (POSIX.1-2017, pax,
// "ustar Interchange Format").
const tarBlock = 512

// The fields of a ustar header, and what they hold at most.
const (
	nameField   = 100
	linkField   = 100
	prefixField = 155
	maxOctal7   = 1<<21 - 1 // uid, gid, devmajor, devminor
	maxOctal11  = 1<<33 - 1 // size, mtime
)

// typeFlags of the ustar format; hardLink stands for every entry whose file came
// before under another name.
const (
	flagRegular = '0'
	flagLink    = '1'
	flagPAX     = 'x'
)

func typeFlag(t filesystem.Type) byte {
	switch t {
	case filesystem.Symlink:
		return '2'
	case filesystem.CharDevice:
		return '3'
	case filesystem.BlockDevice:
		return '4'
	case filesystem.Folder:
		return '5'
	case filesystem.Fifo:
		return '6'
	}
	return flagRegular
}

// tarName is an entry's path in the stream.
func tarName(e *filesystem.Entry) string {
	if e.Type == filesystem.Folder && e.Path != "" {
		return "./" + e.Path + "/"
	}
	return "./" + e.Path
}

// pieces is how a regular file stands in the stream: pad bytes of a sparse map
// and then the data.
type pieces struct {
	sparse []byte // the map, whole blocks; nil where all of the file is data
	data   []filesystem.Extent
	bytes  int64 // of data
}

// cutFile decides it.
func cutFile(e *filesystem.Entry) (pieces, error) {
	if !e.Sparse {
		return pieces{data: []filesystem.Extent{{Off: 0, Len: e.Size}}, bytes: e.Size}, nil
	}
	p := pieces{data: e.Data}
	end := int64(0)
	for i, d := range e.Data {
		last := i == len(e.Data)-1
		if d.Off < end || d.Len <= 0 || d.Off > e.Size-d.Len || d.Off%tarBlock != 0 || !last && d.Len%tarBlock != 0 {
			return pieces{}, fmt.Errorf("data of %d bytes at %d, after %d in a file of %d", d.Len, d.Off, end, e.Size)
		}
		end = d.Off + d.Len
		p.bytes += d.Len
	}
	p.sparse = sparseMap(e.Data, end, e.Size)
	return p, nil
}

// sparseMap is the map of GNU's sparse format 1.0 (GNU tar manual, "Storing
// Sparse Files"): decimal numbers, a line each: how many pieces, then offset and
// length of each. A hole at the end is a piece without bytes, or GNU tar would
// make the file too short.
func sparseMap(data []filesystem.Extent, end, size int64) []byte {
	count := len(data)
	if end < size {
		count++
	}
	m := strconv.AppendInt(nil, int64(count), 10)
	m = append(m, '\n')
	number := func(n int64) {
		m = strconv.AppendInt(m, n, 10)
		m = append(m, '\n')
	}
	for _, d := range data {
		number(d.Off)
		number(d.Len)
	}
	if end < size {
		number(size)
		number(0)
	}
	return append(m, make([]byte, padding(int64(len(m))))...)
}

// padding is what fills n bytes up to whole blocks.
func padding(n int64) int64 { return -n & (tarBlock - 1) }

// headers makes the header blocks of entries. It keeps its memory from one to
// the next.
type headers struct {
	out     []byte
	records []record
	body    []byte
}

// record is one record of a PAX extended header.
type record struct{ key, value string }

// entry returns the header blocks of an entry, which are valid until the next
// call. link, unless empty, is the path of the entry that is the same file.
func (h *headers) entry(e *filesystem.Entry, link string, p pieces) ([]byte, error) {
	h.records = h.records[:0]
	u := ustar{name: tarName(e), flag: typeFlag(e.Type), mode: e.Mode, uid: int64(e.UID), gid: int64(e.GID), mtime: e.Sec}
	real := "path" // what the name is called where it does not fit
	switch {
	case link != "":
		u.flag, u.link = flagLink, "./"+link
	case e.Type == filesystem.Symlink:
		u.link = e.Target
	case e.Type == filesystem.CharDevice, e.Type == filesystem.BlockDevice:
		u.major, u.minor = int64(e.Major), int64(e.Minor)
	case e.Type == filesystem.Regular:
		u.size = p.bytes + int64(len(p.sparse))
	}
	if p.sparse != nil {
		real = ""
		h.add("GNU.sparse.major", "1")
		h.add("GNU.sparse.minor", "0")
		h.add("GNU.sparse.name", u.name)
		h.add("GNU.sparse.realsize", strconv.FormatInt(e.Size, 10))
		u.name = "./GNUSparseFile.0/" + tail(u.name)
	}
	h.overflow(&u, e, real)
	if link == "" { // what a hard link has was told with its first name
		if err := h.attributes(e); err != nil {
			return nil, err
		}
	}
	h.out = h.out[:0]
	if len(h.records) > 0 {
		h.pax(e)
	}
	h.out = u.append(h.out)
	return h.out, nil
}

func (h *headers) add(key, value string) { h.records = append(h.records, record{key, value}) }

// overflow puts into records what the header has no room for.
func (h *headers) overflow(u *ustar, e *filesystem.Entry, name string) {
	if name != "" && !u.fitName() {
		h.add(name, u.name)
		u.name = tail(u.name)
	}
	if len(u.link) > linkField {
		h.add("linkpath", u.link)
		u.link = u.link[:linkField]
	}
	for _, n := range []struct {
		key   string
		value *int64
		most  int64
	}{{"uid", &u.uid, maxOctal7}, {"gid", &u.gid, maxOctal7}, {"size", &u.size, maxOctal11}} {
		if *n.value > n.most {
			h.add(n.key, strconv.FormatInt(*n.value, 10))
			*n.value = 0
		}
	}
	if e.Nsec != 0 || e.Sec < 0 || e.Sec > maxOctal11 {
		h.add("mtime", paxTime(e.Sec, e.Nsec))
		u.mtime = min(max(e.Sec, 0), maxOctal11)
	}
	for _, r := range h.records {
		// The values of these are in UTF-8 unless it is said otherwise, and names on
		// Linux are bytes. GNU tar takes them as they are and warns of the keyword.
		if (r.key == "path" || r.key == "linkpath" || r.key == "GNU.sparse.name") && !utf8.ValidString(r.value) {
			h.records = slices.Insert(h.records, 0, record{"hdrcharset", "BINARY"})
			break
		}
	}
}

// tail is the end of a path, for a field that a record stands above. What a
// reader without records makes of it is a file of its own.
func tail(path string) string {
	path = strings.TrimSuffix(path, "/")
	path = path[strings.LastIndexByte(path, '/')+1:]
	return path[:min(len(path), nameField-len("./GNUSparseFile.0/"))]
}

// paxTime is seconds with a fraction: -1.5 is one and a half seconds before 1970.
func paxTime(sec int64, nsec uint32) string {
	var room [32]byte
	b := room[:0]
	if sec < 0 {
		b = append(b, '-')
		if nsec > 0 {
			sec, nsec = sec+1, 1_000_000_000-nsec
		}
		sec = -sec
	}
	b = strconv.AppendUint(b, uint64(sec), 10)
	if nsec == 0 {
		return string(b)
	}
	b = append(b, '.')
	for unit := uint32(100_000_000); nsec > 0; unit /= 10 {
		b = append(b, byte('0'+nsec/unit))
		nsec %= unit
	}
	return string(b)
}

// The attributes that have a form of their own in GNU tar's archives: as xattr
// records it gets them wrong.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	selinux    = "security.selinux"
)

func (h *headers) attributes(e *filesystem.Entry) error {
	for _, x := range e.Xattrs {
		switch x.Name {
		case aclAccess, aclDefault:
			text, err := aclText(x.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", x.Name, err)
			}
			h.add("SCHILY.acl."+strings.TrimPrefix(x.Name, "system.posix_acl_"), text)
		default:
			// GNU tar restores a context with a zero behind it, as the SELinux tools
			// write it; one without is an xattr like any other.
			if context, zero := bytes.CutSuffix(x.Value, []byte{0}); x.Name == selinux && zero {
				h.add("RHT.security.selinux", string(context))
				continue
			}
			// GNU tar's escapes (xheader.c, xattr_encode_keyword).
			name := strings.NewReplacer("%", "%25", "=", "%3D").Replace(x.Name)
			h.add("SCHILY.xattr."+name, string(x.Value))
		}
	}
	return nil
}

// pax appends the extended header.
func (h *headers) pax(e *filesystem.Entry) {
	h.body = h.body[:0]
	for _, r := range h.records {
		h.body = appendRecord(h.body, r)
	}
	u := ustar{name: "./PaxHeaders/" + tail("./"+e.Path), flag: flagPAX, mode: 0o644, size: int64(len(h.body))}
	if e.Sec >= 0 && e.Sec <= maxOctal11 {
		u.mtime = e.Sec
	}
	h.out = u.append(h.out)
	h.out = append(h.out, h.body...)
	h.out = append(h.out, make([]byte, padding(int64(len(h.body))))...)
}

// appendRecord appends "<length of it all> <key>=<value>\n".
func appendRecord(b []byte, r record) []byte {
	rest := len(" =\n") + len(r.key) + len(r.value)
	length := rest + len(strconv.Itoa(rest))
	if more := rest + len(strconv.Itoa(length)); more != length {
		length = more
	}
	b = strconv.AppendInt(b, int64(length), 10)
	b = append(b, ' ')
	b = append(b, r.key...)
	b = append(b, '=')
	b = append(b, r.value...)
	return append(b, '\n')
}

// ustar is one header block.
type ustar struct {
	name, link   string
	flag         byte
	mode         uint32
	uid, gid     int64
	size, mtime  int64
	major, minor int64
}

// splitName cuts a name at a slash for the fields prefix and name.
func splitName(path string) (prefix, rest string, ok bool) {
	if len(path) <= nameField {
		return "", path, true
	}
	// The name must not be empty, so a slash at the end is no place to cut.
	for i := min(len(path)-2, prefixField); i > 0 && len(path)-i-1 <= nameField; i-- {
		if path[i] == '/' {
			return path[:i], path[i+1:], true
		}
	}
	return "", "", false
}

func (u *ustar) fitName() bool {
	_, _, ok := splitName(u.name)
	return ok
}

func (u *ustar) append(b []byte) []byte {
	from := len(b)
	b = append(b, make([]byte, tarBlock)...)
	f := b[from:]
	prefix, name, _ := splitName(u.name)
	copy(f[0:100], name)
	octal(f[100:108], int64(u.mode))
	octal(f[108:116], u.uid)
	octal(f[116:124], u.gid)
	octal(f[124:136], u.size)
	octal(f[136:148], u.mtime)
	copy(f[148:156], "        ") // the checksum counts itself as blanks
	f[156] = u.flag
	copy(f[157:257], u.link)
	copy(f[257:265], "ustar\x0000")
	octal(f[329:337], u.major)
	octal(f[337:345], u.minor)
	copy(f[345:500], prefix)
	octal(f[148:155], byteSum(f))
	return b
}

// byteSum adds up the bytes of a block, of eight of them the odd and the even ones
// at a time: 64 words of two bytes at most fit into the 16 bits of each lane.
func byteSum(block []byte) int64 {
	const even = 0x00FF00FF00FF00FF
	lanes := uint64(0)
	for i := 0; i < tarBlock; i += 8 {
		w := binary.LittleEndian.Uint64(block[i:])
		lanes += w&even + w>>8&even
	}
	return int64(lanes&0xFFFF + lanes>>16&0xFFFF + lanes>>32&0xFFFF + lanes>>48)
}

// octal fills a field with digits and a NUL.
func octal(field []byte, n int64) {
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = byte('0' + n&7)
		n >>= 3
	}
	field[len(field)-1] = 0
}

// xattrDigest is docs/format.md's.
func xattrDigest(all []filesystem.Xattr) *[32]byte {
	if len(all) == 0 {
		return nil
	}
	h := sha256.New()
	for _, x := range all {
		for _, part := range [][]byte{[]byte(x.Name), x.Value} {
			h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(part))))
			h.Write(part)
		}
	}
	return (*[32]byte)(h.Sum(nil))
}
