package encrypt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Packet tags of RFC 4880 section 4.3 and RFC 9580 section 5; 20 is GnuPG's.
const (
	tagPublicKeySession = 1
	tagPassphrase       = 3
	tagMarker           = 10
	tagProtected        = 18 // encrypted, integrity protected
	tagAEAD             = 20
	tagPadding          = 21
)

const (
	maxHeader = 6       // a tag and the longest length
	maxKept   = 64      // bytes of a packet's body that anything here looks at
	maxKeys   = 1 << 10 // recipients of one message
)

var errTrailing = errors.New("bytes behind the end of the encrypted message")

// framing follows the packets of an encrypted message as its bytes pass by, and
// says what gpg does not: whether the message has an end and nothing behind it,
// and to which keys it is encrypted. It looks at nothing that is encrypted.
type framing struct {
	off     int64    // bytes seen
	keyIDs  []string // of the recipients, upper-case hex; 16 zeros for a hidden one
	body    []byte   // the first bytes of the packet at hand
	tag     byte
	header  []byte // of the header that is being read
	left    int64  // of the packet's body, or of this part of it
	partial bool   // another part follows
	sealed  bool   // the encrypted packet has begun
	done    bool   // and has ended
	armored bool   // not binary: nothing can be said
}

// Write implements io.Writer. It returns an error for what is not one encrypted
// message.
func (f *framing) Write(p []byte) (int, error) {
	total := len(p)
	if f.off == 0 && total > 0 && p[0]&0x80 == 0 {
		f.armored = true
	}
	for len(p) > 0 && !f.armored {
		if f.left > 0 {
			n := int(min(f.left, int64(len(p))))
			if room := maxKept - len(f.body); room > 0 {
				f.body = append(f.body, p[:min(n, room)]...)
			}
			f.left -= int64(n)
			f.off += int64(n)
			p = p[n:]
		} else {
			if f.done {
				return total - len(p), fmt.Errorf("%w, at byte %d", errTrailing, f.off)
			}
			f.header = append(f.header, p[0])
			f.off++
			p = p[1:]
			if err := f.readHeader(); err != nil {
				return total - len(p), err
			}
		}
		if f.left == 0 && !f.partial && len(f.header) == 0 {
			if err := f.endPacket(); err != nil {
				return total - len(p), err
			}
		}
	}
	if f.armored {
		f.off += int64(len(p))
	}
	return total, nil
}

// begun says whether all that comes before the encrypted data has passed.
func (f *framing) begun() bool { return f.sealed || f.armored }

// end says whether the message may end here.
func (f *framing) end() error {
	switch {
	case f.armored || f.done:
		return nil
	case f.off == 0:
		return fmt.Errorf("an empty object is no OpenPGP message: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("the encrypted message is cut short: it goes on behind its %d bytes: %w", f.off, io.ErrUnexpectedEOF)
}

// readHeader takes the header apart once it is whole, and leaves it empty then.
func (f *framing) readHeader() error {
	h := f.header
	if !f.partial {
		if h[0]&0x80 == 0 {
			return fmt.Errorf("byte %d is no OpenPGP packet", f.off-1)
		}
		if len(h) == 1 {
			return f.beginPacket()
		}
		if h[0]&0x40 == 0 {
			return f.readOldLength(int(h[0]&3), h[1:])
		}
		h = h[1:]
	}
	return f.readLength(h)
}

func (f *framing) beginPacket() error {
	h := f.header[0]
	f.tag, f.body = h&0x3f, f.body[:0]
	if h&0x40 == 0 {
		f.tag = h & 0x3f >> 2
		if h&3 == 3 {
			return fmt.Errorf("an OpenPGP packet without a length, at byte %d", f.off-1)
		}
	}
	switch f.tag {
	case tagPublicKeySession, tagPassphrase, tagMarker, tagPadding:
		return nil
	case tagProtected, tagAEAD:
		f.sealed = true
		return nil
	case 9:
		return errors.New("the message is encrypted without protection against changes")
	}
	return fmt.Errorf("not an encrypted OpenPGP message: a packet of type %d at byte %d", f.tag, f.off-1)
}

func (f *framing) readOldLength(kind int, length []byte) error {
	if len(length) < 1<<kind {
		return nil
	}
	var wide [4]byte
	copy(wide[4-len(length):], length)
	return f.setLength(int64(binary.BigEndian.Uint32(wide[:])))
}

// readLength reads a length as in RFC 4880 section 4.2.2.
func (f *framing) readLength(l []byte) error {
	first := int64(l[0])
	switch {
	case first < 192:
		return f.setLength(first)
	case first < 224:
		if len(l) < 2 {
			return nil
		}
		return f.setLength((first-192)<<8 + int64(l[1]) + 192)
	case first < 255:
		if !f.sealed {
			return fmt.Errorf("an OpenPGP packet in parts that may not be, at byte %d", f.off)
		}
		f.header, f.partial, f.left = f.header[:0], true, 1<<(first&0x1f)
		return nil
	case len(l) < maxHeader-1:
		return nil
	}
	return f.setLength(int64(binary.BigEndian.Uint32(l[1:])))
}

func (f *framing) setLength(n int64) error {
	f.header, f.partial, f.left = f.header[:0], false, n
	return nil
}

func (f *framing) endPacket() error {
	f.done = f.sealed
	if f.tag != tagPublicKeySession {
		return nil
	}
	if len(f.keyIDs) == maxKeys {
		return fmt.Errorf("the message has more than %d recipients", maxKeys)
	}
	// RFC 4880 section 5.1: version 3, then eight bytes of key ID.
	if len(f.body) < 9 || f.body[0] != 3 {
		return errors.New("a recipient's packet of a version that is not known")
	}
	f.keyIDs = append(f.keyIDs, fmt.Sprintf("%X", f.body[1:9]))
	return nil
}
