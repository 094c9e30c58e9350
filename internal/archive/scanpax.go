package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/layout"
)

// maxExtended is the longest extended header, in bytes: extended attributes of
// Linux have at most 64 KiB each, and a thousand of them fit.
const maxExtended = 64 << 20

// maxXattrNames is how much the names of all attributes of a file have at most, in
// bytes: Linux lists no more (xattr(7)).
const maxXattrNames = 64 << 10

// paxRecords is what an extended header says. Its slices lie in the header.
type paxRecords struct {
	any            bool
	path, link     paxText
	size, uid, gid paxNumber
	major, minor   paxNumber
	time           paxTimestamp
	times          bool // of access or change, which WriteTree does not write
	charset        bool
	sparse         paxSparse
	acls           [2]paxText // access, default
	selinux        paxText
	xattrs         []filesystem.Xattr // names escaped
	libarchive     []filesystem.Xattr // names escaped, values in Base64
	xattrNames     int
}

// paxSparse is what records say of holes, in all versions (GNU tar manual,
// "Storing Sparse Files").
type paxSparse struct {
	major, minor paxNumber
	real         paxNumber           // 1.0: size of the file
	size, count  paxNumber           // 0.x: size of the file, and number of pieces
	name         paxText             // 0.1 and 1.0
	list         paxText             // 0.1
	pieces       []filesystem.Extent // 0.0
	open         bool                // the last of them has no length yet
}

func (p *paxRecords) reset() {
	if !p.any {
		return
	}
	pieces := p.sparse.pieces[:0]
	clear(p.xattrs)
	clear(p.libarchive)
	*p = paxRecords{xattrs: p.xattrs[:0], libarchive: p.libarchive[:0]}
	p.sparse.pieces = pieces
}

// extended reads the extended header of the next entry.
func (s *scanner) extended(ctx context.Context, h tarHeader) error {
	if s.records.any {
		return errors.New("two extended headers of one entry")
	}
	s.records.any = true
	from := len(s.body)
	if h.size > maxExtended {
		return fmt.Errorf("an extended header of %d bytes, and %d are the most", h.size, maxExtended)
	}
	var err error
	if s.body, err = s.in.appendTo(ctx, s.body, h.size); err != nil {
		return fmt.Errorf("an extended header: %w", err)
	}
	return eachRecord(s.body[from:], s.records.add)
}

// globals reads records for all entries from here on. Those are few that make
// sense for many entries.
func (s *scanner) globals(ctx context.Context, h tarHeader) error {
	if h.size > maxExtended {
		return fmt.Errorf("a global header of %d bytes, and %d are the most", h.size, maxExtended)
	}
	body, err := s.in.appendTo(ctx, nil, h.size)
	if err != nil {
		return fmt.Errorf("a global header: %w", err)
	}
	more := paxRecords{any: true}
	if err := eachRecord(body, func(key, value []byte) error {
		switch string(key) {
		case "uid", "gid", "mtime", "hdrcharset", "comment", "atime", "ctime", "uname", "gname":
			return more.add(key, value)
		}
		return errors.New("it makes no sense for all entries")
	}); err != nil {
		return fmt.Errorf("a global header: %w", err)
	}
	if more.uid.set {
		s.global.uid = more.uid
	}
	if more.gid.set {
		s.global.gid = more.gid
	}
	if more.time.set {
		s.global.time = more.time
	}
	return nil
}

// longName reads GNU tar's long name, or long link, of the next entry.
func (s *scanner) longName(ctx context.Context, h tarHeader) error {
	to := &s.long.path
	if h.flag == flagLongLink {
		to = &s.long.link
	}
	if *to != nil {
		return errors.New("two long names of one entry")
	}
	if h.format != formatGNU {
		return fmt.Errorf("a long name (type %q) in a format that has none", h.flag)
	}
	if h.size > layout.MaxPath+int64(len("./")+1) {
		return fmt.Errorf("a long name of %d bytes, and %d are the most", h.size, layout.MaxPath)
	}
	from := len(s.body)
	var err error
	if s.body, err = s.in.appendTo(ctx, s.body, h.size); err != nil {
		return fmt.Errorf("a long name: %w", err)
	}
	// With room at its end it would be moved: what lies in body must not be.
	name := bytes.Clone(bytes.TrimSuffix(s.body[from:], []byte{0}))
	s.body = s.body[:from]
	if len(name) == 0 || bytes.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("a long name %.100q", name)
	}
	*to = name
	return nil
}

// add takes one record. What is left out says nothing of what a snapshot has; a
// record that is unknown might.
func (p *paxRecords) add(key, value []byte) error {
	switch string(key) {
	case "path":
		return p.path.take(value)
	case "linkpath":
		return p.link.take(value)
	case "size":
		return p.size.take(value, math.MaxInt64)
	case "uid":
		return p.uid.take(value, math.MaxUint32)
	case "gid":
		return p.gid.take(value, math.MaxUint32)
	case "SCHILY.devmajor":
		return p.major.take(value, math.MaxUint32)
	case "SCHILY.devminor":
		return p.minor.take(value, math.MaxUint32)
	case "mtime":
		return p.time.take(value)
	case "hdrcharset": // paths are bytes here, whatever they are for others
		if p.charset {
			return errTwice
		}
		p.charset = true
		if v := string(value); v != "BINARY" && v != "ISO-IR 10646 2000 UTF-8" {
			return fmt.Errorf("%w: %.60q", errValue, value)
		}
		return nil
	case "atime", "ctime":
		p.times = true
		return nil
	case "comment", "uname", "gname", "charset", "LIBARCHIVE.creationtime", "LIBARCHIVE.symlinktype",
		"SCHILY.dev", "SCHILY.ino", "SCHILY.nlink", "SCHILY.fflags":
		return nil
	}
	if name, found := strings.CutPrefix(string(key), "GNU.sparse."); found {
		return p.sparse.add(name, value)
	}
	return p.attribute(string(key), value)
}

func (s *paxSparse) add(name string, value []byte) error {
	switch name {
	case "major":
		return s.major.take(value, 1)
	case "minor":
		return s.minor.take(value, 1)
	case "realsize":
		return s.real.take(value, math.MaxInt64)
	case "size":
		return s.size.take(value, math.MaxInt64)
	case "numblocks":
		return s.count.take(value, math.MaxInt64)
	case "name":
		return s.name.take(value)
	case "map":
		return s.list.take(value)
	}
	n, ok := decimal(value)
	switch {
	case !ok:
		return errValue
	case name == "offset" && !s.open:
		s.pieces = append(s.pieces, filesystem.Extent{Off: n})
		s.open = true
		return nil
	case name == "numbytes" && s.open:
		s.pieces[len(s.pieces)-1].Len = n
		s.open = false
		return nil
	}
	return errors.New("it is not known, or not expected here")
}

func (p *paxRecords) attribute(key string, value []byte) error {
	switch key {
	case "SCHILY.acl.access":
		return p.acls[0].take(value)
	case "SCHILY.acl.default":
		return p.acls[1].take(value)
	case "RHT.security.selinux":
		return p.selinux.take(value)
	case "SCHILY.acl.ace":
		return errors.New("an ACL of NFSv4 is nothing that a snapshot's files have")
	case "GNU.dumpdir", "GNU.volume.label", "GNU.volume.filename", "GNU.volume.size", "GNU.volume.offset":
		return errors.New("incremental archives and those of several volumes are not read here")
	}
	to, name, found := &p.xattrs, "", false
	if name, found = strings.CutPrefix(key, "SCHILY.xattr."); !found {
		to = &p.libarchive
		if name, found = strings.CutPrefix(key, "LIBARCHIVE.xattr."); !found {
			return errors.New("it is not known what that means")
		}
	}
	if p.xattrNames += len(name) + 1; p.xattrNames > 6*maxXattrNames { // in two forms, three bytes for one
		return fmt.Errorf("names of attributes of more than %d bytes", maxXattrNames)
	}
	*to = append(*to, filesystem.Xattr{Name: name, Value: value})
	return nil
}
