package archive

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/filesystem"
)

// attributes sets the hash of an entry's extended attributes. Those of a hard link
// are its first name's; GNU tar repeats them.
func (s *scanner) attributes(row *TreeRow) error {
	p := &s.records
	if len(p.xattrs) == 0 && len(p.libarchive) == 0 && !p.acls[0].set && !p.acls[1].set && !p.selinux.set {
		return nil
	}
	all, err := p.kernelXattrs()
	if err != nil {
		return fmt.Errorf("its extended attributes: %w", err)
	}
	if row.Link == "" {
		row.XattrSum = xattrDigest(all)
	}
	return nil
}

// kernelXattrs are the attributes as the kernel has them, in byte order of their
// names. Where two records tell of one, they must agree.
func (p *paxRecords) kernelXattrs() ([]filesystem.Xattr, error) {
	all := make([]filesystem.Xattr, 0, len(p.xattrs)+len(p.libarchive)+3)
	for _, x := range p.xattrs {
		name, err := unescape(x.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, filesystem.Xattr{Name: name, Value: x.Value})
	}
	for _, x := range p.libarchive {
		name, err := unescape(x.Name)
		if err != nil {
			return nil, err
		}
		value, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(string(x.Value), "="))
		if err != nil {
			return nil, fmt.Errorf("the value of %.300q: %w", name, err)
		}
		all = append(all, filesystem.Xattr{Name: name, Value: value})
	}
	for i, name := range [...]string{aclAccess, aclDefault} {
		if !p.acls[i].set {
			continue
		}
		raw, err := p.acl(i, find(all, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if raw != nil {
			all = append(all, filesystem.Xattr{Name: name, Value: raw})
		}
	}
	if p.selinux.set {
		// GNU tar leaves the zero behind a context out.
		value := append(bytes.Clone(p.selinux.b), 0)
		if raw := find(all, selinux); raw != nil && bytes.Equal(raw.Value, p.selinux.b) {
			value = raw.Value
		}
		all = append(all, filesystem.Xattr{Name: selinux, Value: value})
	}
	slices.SortStableFunc(all, func(a, b filesystem.Xattr) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(all); i++ {
		if a, b := all[i-1], all[i]; a.Name == b.Name && !bytes.Equal(a.Value, b.Value) {
			return nil, fmt.Errorf("%.300q is there twice, with different values", a.Name)
		}
	}
	return slices.CompactFunc(all, func(a, b filesystem.Xattr) bool { return a.Name == b.Name }), nil
}

func find(all []filesystem.Xattr, name string) *filesystem.Xattr {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// acl is the access (0) or default (1) ACL as the kernel has it; nil for none.
func (p *paxRecords) acl(which int, raw *filesystem.Xattr) ([]byte, error) {
	text := p.acls[which].b
	if len(text) == 0 {
		return nil, nil
	}
	acl, err := readACL(text)
	if errors.Is(err, errACLName) && raw != nil {
		return nil, nil // GNU tar's text has names; its record beside it has the ids
	}
	if err != nil {
		return nil, err
	}
	// Of a folder that has no ACL but a default one, GNU tar writes the mode as an
	// access ACL. The kernel keeps no such ACL.
	if which == 0 && raw == nil && p.times && len(acl) == aclHeader+3*aclEntry {
		return nil, nil
	}
	return acl, nil
}

// unescape undoes the escapes in the name of an attribute: GNU tar's for "%" and
// "=", and libarchive's for these and others.
func unescape(name string) (string, error) {
	var b []byte
	for rest := name; ; {
		plain, escaped, found := strings.Cut(rest, "%")
		b = append(b, plain...)
		if !found {
			break
		}
		if len(escaped) < 2 || unhex(escaped[0]) > 15 || unhex(escaped[1]) > 15 {
			return "", fmt.Errorf("the name %.300q", name)
		}
		b = append(b, unhex(escaped[0])<<4|unhex(escaped[1]))
		rest = escaped[2:]
	}
	if len(b) == 0 || bytes.IndexByte(b, 0) >= 0 {
		return "", fmt.Errorf("the name %.300q", name)
	}
	return string(b), nil
}

// unhex is the value of a digit, as both write it; over 15: it is none.
func unhex(d byte) byte {
	switch {
	case d >= '0' && d <= '9':
		return d - '0'
	case d >= 'A' && d <= 'F':
		return d - 'A' + 10
	}
	return 0xFF
}
