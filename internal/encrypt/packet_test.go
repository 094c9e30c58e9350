package encrypt

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	recipientPacket = "\xc1\x0b\x03\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x99" // new format, 11 bytes
	oldRecipient    = "\x85\x00\x0b\x03\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x99"
)

func TestFraming(t *testing.T) {
	ids := []string{"0123456789ABCDEF"}
	for name, c := range map[string]struct {
		message string
		ids     []string
		err     string // "" for whole
	}{
		"one length":          {recipientPacket + "\xd2\x03abc", ids, ""},
		"old format":          {oldRecipient + "\xd2\x03abc", ids, ""},
		"two recipients":      {oldRecipient + recipientPacket + "\xd2\x01a", []string{ids[0], ids[0]}, ""},
		"two octets":          {recipientPacket + "\xd2\xc0\x01" + strings.Repeat("x", 193), ids, ""},
		"five octets":         {recipientPacket + "\xd2\xff\x00\x00\x00\x02ab", ids, ""},
		"parts":               {recipientPacket + "\xd2\xe1ab\xe0c\x02de", ids, ""},
		"parts, the last 0":   {recipientPacket + "\xd4\xe1ab\x00", ids, ""},
		"no recipient":        {"\xd2\x01a", nil, ""},
		"a marker first":      {"\xca\x03PGP" + recipientPacket + "\xd2\x01a", ids, ""},
		"armor":               {"-----BEGIN PGP MESSAGE-----", nil, ""},
		"empty":               {"", nil, "empty"},
		"only a recipient":    {recipientPacket, ids, "cut short"},
		"in a part":           {recipientPacket + "\xd2\xe1a", ids, "cut short"},
		"between parts":       {recipientPacket + "\xd2\xe1ab", ids, "cut short"},
		"in a length":         {recipientPacket + "\xd2\xff\x00", ids, "cut short"},
		"behind":              {recipientPacket + "\xd2\x01a\xca\x03PGP", ids, "behind the end"},
		"one byte behind":     {recipientPacket + "\xd2\x01ax", ids, "behind the end"},
		"a plaintext":         {"\xcb\x01a", nil, "type 11"},
		"without protection":  {"\xc9\x01a", nil, "without protection"},
		"no length":           {"\x87abc", nil, "without a length"},
		"parts of a key":      {"\xc1\xe1ab", nil, "in parts"},
		"not a packet":        {recipientPacket + "hello", ids, "no OpenPGP packet"},
		"a recipient, short":  {"\xc1\x02\x03\x01", nil, "version"},
		"a later recipient":   {"\xc1\x0b\x06" + strings.Repeat("x", 10), nil, "version"},
		"too many recipients": {strings.Repeat(recipientPacket, maxKeys+1), nil, "more than"},
	} {
		for _, step := range []int{1, 2, 7, 1 << 20} {
			var f framing
			err := writeSteps(&f, []byte(c.message), step)
			if err == nil {
				err = f.end()
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%s, %d bytes at a time: error %v, want %q", name, step, err, c.err)
			}
			if diff := cmp.Diff(c.ids, f.keyIDs); diff != "" && c.ids != nil {
				t.Errorf("%s: -want +got\n%s", name, diff)
			}
			if c.err == "cut short" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
}

func writeSteps(w io.Writer, p []byte, step int) error {
	for chunk := range slices.Chunk(p, step) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// However the bytes come, the same is found, and no more is held than is needed.
func FuzzFraming(f *testing.F) {
	f.Add([]byte(recipientPacket+"\xd2\xe1ab\xe0c\x02de"), 1)
	f.Add([]byte(oldRecipient+"\xd2\xff\x00\x00\x00\x02ab"), 3)
	f.Fuzz(func(t *testing.T, message []byte, step int) {
		var once, steps framing
		onceErr := writeSteps(&once, message, max(1, len(message)))
		stepErr := writeSteps(&steps, message, max(1, step))
		if (onceErr == nil) != (stepErr == nil) || (once.end() == nil) != (steps.end() == nil) || !slices.Equal(once.keyIDs, steps.keyIDs) {
			t.Errorf("at once: %+v, %v; in steps: %+v, %v", once, onceErr, steps, stepErr)
		}
		if len(once.body) > maxKept || len(once.header) > maxHeader {
			t.Errorf("holds %d and %d bytes", len(once.body), len(once.header))
		}
	})
}
