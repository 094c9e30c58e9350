package filesystem

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// MountError is a filesystem that cannot be mounted, or not without showing a
// wrong tree.
type MountError struct {
	Err   error    // what the call gave
	Words []string // what the kernel said about it besides
}

func (e *MountError) Error() string {
	text := "it cannot be mounted: " + e.Err.Error()
	if len(e.Words) == 0 {
		return text
	}
	return text + " (" + strings.Join(e.Words, "; ") + ")"
}

// Unwrap returns what the call gave.
func (e *MountError) Unwrap() error { return e.Err }

// What an error repeats of the kernel's words: the first lines tell the cause.
const (
	mostWords = 6
	longWord  = 300
)

// contextWords reads the messages that wait at an fsopen descriptor, one a read:
// a letter for the level, a space, the text (fsopen(2), "message retrieval").
func contextWords(config int) []string {
	var words []string
	buf := make([]byte, 4096)
	for len(words) < mostWords {
		n, err := again(func() (int, error) { return unix.Read(config, buf) })
		if err != nil || n <= 0 {
			break // there are no more
		}
		text := string(buf[:n])
		if level, rest, ok := strings.Cut(text, " "); ok && len(level) == 1 {
			text = rest
		}
		words = append(words, tidy(text))
	}
	return words
}

// kernelLog is what the kernel logs about one loop device from here on: most
// filesystems tell why they are not mounted there alone. Where it cannot be read
// it says nothing, and errors are poorer.
type kernelLog struct {
	fd     int // -1: none
	device string
}

func openKernelLog(loop int) *kernelLog {
	l := &kernelLog{fd: -1, device: fmt.Sprintf("loop%d", loop)}
	fd, err := again(func() (int, error) {
		return unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return l
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		closeFD(fd)
		return l
	}
	l.fd = fd
	return l
}

func (l *kernelLog) close() {
	if l.fd >= 0 {
		closeFD(l.fd)
	}
}

// mostRecords bounds how many lines about other things are passed over.
const mostRecords = 1000

// words returns what was logged of the device.
func (l *kernelLog) words() []string {
	var words []string
	buf := make([]byte, 8192)
	for n := 0; l.fd >= 0 && n < mostRecords && len(words) < mostWords; n++ {
		size, err := again(func() (int, error) { return unix.Read(l.fd, buf) })
		if errors.Is(err, unix.EPIPE) {
			continue // lines were lost; it goes on with the oldest
		}
		if err != nil || size <= 0 {
			break
		}
		if text, ok := aboutDevice(string(buf[:size]), l.device); ok {
			words = append(words, text)
		}
	}
	return words
}

// worst of the levels that are told: syslog's 4 is a warning, and the rest is news
// of what goes well.
const worst = 4

// aboutDevice takes a record of /dev/kmsg apart, "level,number,time,flags;text",
// with lines that begin with a space behind it (Linux, Documentation/ABI/testing/
// dev-kmsg). The three low bits of the level count.
func aboutDevice(record, device string) (string, bool) {
	prefix, text, ok := strings.Cut(record, ";")
	level, _, _ := strings.Cut(prefix, ",")
	n, err := strconv.ParseUint(level, 10, 32)
	if !ok || err != nil || n&7 > worst {
		return "", false
	}
	text, _, _ = strings.Cut(text, "\n")
	for rest := text; ; {
		_, after, found := strings.Cut(rest, device)
		if !found {
			return "", false
		}
		if after == "" || after[0] < '0' || after[0] > '9' { // loop1 is not loop10
			return tidy(text), true
		}
		rest = after
	}
}

// tidy makes one short line out of a text that repeats what stands on a disk.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if text = strings.TrimSpace(text); len(text) > longWord {
		text = strings.ToValidUTF8(text[:longWord], "") + "…"
	}
	return text
}
