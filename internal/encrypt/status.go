package encrypt

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
)

const (
	maxLine     = 4 << 10 // longer ones are cut
	maxMessages = 12      // lines of gpg's that an error shows
)

// secrets is what gpg prints of a session key: where it is asked to, and, in
// 2.2, where it takes one by descriptor ("gpg: DBG: seskey: 9:…").
var secrets = regexp.MustCompile(`(?i)session key|seskey|[0-9]+:[0-9a-f]{16,}`)

// stamp stands before a message in a log file, which is what gpg takes us for: of
// its options only this one takes back a log-file in gpg.conf.
var stamp = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} gpg[0-9]?\[[0-9]+\] *`)

// eachLine reads r to its end, so that gpg never waits for us.
func eachLine(r io.Reader, add func(line string)) {
	b := bufio.NewReaderSize(r, maxLine)
	rest := false // of a line that was too long
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 && !rest {
			add(strings.TrimRight(string(line), "\r\n"))
		}
		rest = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !rest {
			return
		}
	}
}

// messages are the last lines that gpg wrote for people, without secrets.
type messages struct{ lines []string }

func (m *messages) add(line string) {
	line = strings.TrimSpace(strings.TrimPrefix(stamp.ReplaceAllString(line, ""), "gpg: "))
	if line == "" || secrets.MatchString(line) {
		return
	}
	line = strings.ToValidUTF8(strings.Map(printable, line), "?")
	if len(m.lines) == maxMessages {
		m.lines = m.lines[1:]
	}
	m.lines = append(m.lines, line)
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// String is one line.
func (m *messages) String() string { return strings.Join(m.lines, "; ") }

// status is what gpg said to programs: doc/DETAILS of GnuPG, "General status codes".
type status struct {
	encTo      []string // key IDs
	invalid    []string // reasons of INV_RECP
	refused    []int    // why a private key could not be used: libgpg-error's codes
	plain      int      // plaintexts seen
	mode       string   // of the last one: its format in hex
	began      int      // messages whose key was found
	okay, good int      // DECRYPTION_OKAY; GOODMDC, which stands for AEAD too
	bad        bool     // something was wrong with the message
	encoded    bool     // encryption went to its end
}

func (s *status) add(line string) {
	text, ok := strings.CutPrefix(line, "[GNUPG:] ")
	if !ok {
		return
	}
	f := append(strings.Split(text, " "), "", "", "") // so that each may be looked at
	switch f[0] {
	case "ENC_TO":
		if len(s.encTo) < maxKeys {
			s.encTo = append(s.encTo, f[1])
		}
	case "INV_RECP":
		s.invalid = append(s.invalid, f[1])
	case "ERROR":
		if code, err := strconv.ParseUint(f[2], 10, 32); err == nil && f[1] == "pkdecrypt_failed" && len(s.refused) < maxKeys {
			s.refused = append(s.refused, int(code&0xffff)) // above is where it comes from
		}
	case "DECRYPTION_INFO":
		s.began++
	case "PLAINTEXT":
		s.plain++
		s.mode = f[1]
	case "DECRYPTION_OKAY":
		s.okay++
	case "GOODMDC":
		s.good++
	case "BADMDC", "DECRYPTION_FAILED", "NODATA", "UNEXPECTED":
		s.bad = true
	case "END_ENCRYPTION":
		s.encoded = true
	}
}

// whole says whether gpg found one message, whole and unchanged; but only with an
// exit of 0, as gpg 2.2 says this much of some messages that it found wrong.
func (s *status) whole() bool {
	return s.okay == 1 && s.plain == 1 && s.began == 1 && s.good == 1 && !s.bad
}

// locked says whether a private key is at hand but for its passphrase or PIN:
// the codes of libgpg-error's err-codes.h.
func (s *status) locked() bool {
	for _, code := range s.refused {
		switch code {
		case 11, // GPG_ERR_BAD_PASSPHRASE
			31,  // GPG_ERR_INV_PASSPHRASE
			85,  // GPG_ERR_NO_PIN_ENTRY
			86,  // GPG_ERR_PIN_ENTRY
			87,  // GPG_ERR_BAD_PIN
			99,  // GPG_ERR_CANCELED
			177, // GPG_ERR_NO_PASSPHRASE
			198: // GPG_ERR_FULLY_CANCELED
			return true
		}
	}
	return false
}
