package layout

import (
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The names of the metadata of an archive. The first six are the predecessor's;
// they say enough to find and size an archive without its record.
const (
	MetaStart        = "snapshot-starttime"
	MetaSnapshot     = "snapshot-snapshotid"
	MetaVolumeGiB    = "snapshot-volumesize"
	MetaVolume       = "snapshot-volumeid"
	MetaDescription  = "snapshot-description"
	MetaUncompressed = "uncompressed-size"
	MetaFormat       = "snap-to-s3-format"
	MetaRun          = "snap-to-s3-run"
)

// maxMetadata bounds names and values together: 2 KB (S3 User Guide, "Working
// with object metadata"). The header prefix is counted too, so that a store
// that counts it takes what we send.
const (
	maxMetadata  = 2048
	headerPrefix = "x-amz-meta-"
)

// Metadata is the user metadata of an archive: ASCII, at most 2 KB. The
// description is cut where it would not fit; the record has all of it.
func Metadata(n Name, uncompressed int64, run string) map[string]string {
	s := n.Snapshot
	m := map[string]string{
		MetaStart:        Time(s.Start),
		MetaSnapshot:     ascii(string(s.ID)),
		MetaVolumeGiB:    strconv.FormatInt(s.SizeGiB(), 10),
		MetaVolume:       ascii(string(s.VolumeID)),
		MetaUncompressed: strconv.FormatInt(uncompressed, 10),
		MetaFormat:       strconv.Itoa(FormatVersion),
		MetaRun:          ascii(run),
		MetaDescription:  "",
	}
	m[MetaDescription] = fit(s.Description, maxMetadata-metadataSize(m))
	return m
}

// Description reads the description out of metadata, be it ASCII or RFC 2047.
func Description(metadata map[string]string) string {
	raw := metadata[MetaDescription]
	text, err := new(mime.WordDecoder).DecodeHeader(raw)
	if err != nil { // a charset nobody here wrote: better the raw text than none
		return raw
	}
	return text
}

func metadataSize(m map[string]string) int {
	n := 0
	for name, value := range m {
		n += len(headerPrefix) + len(name) + len(value)
	}
	return n
}

// fit codes as many whole runes of text as take at most room bytes.
func fit(text string, room int) string {
	text = valid(text)
	runes := utf8.RuneCountInString(text)
	for {
		coded := ascii(text)
		if len(coded) <= room || text == "" {
			return coded
		}
		// Shorten by the share that is too much, and by one rune at least.
		runes = min(runes-1, runes*max(room, 0)/len(coded))
		text = firstRunes(text, runes)
	}
}

func firstRunes(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

// ascii returns text as a header may hold it: as it is where that is safe,
// else as RFC 2047 encoded words, in the shorter of their two forms.
func ascii(text string) string {
	if plain(text) {
		return text
	}
	text = valid(text)
	q, b := encodedWords(mime.QEncoding, text), encodedWords(mime.BEncoding, text)
	if len(b) < len(q) {
		return b
	}
	return q
}

// encodedWords forces the coding even of text that mime would leave alone: a
// space at the end, which HTTP drops, or ASCII that looks like an encoded word.
func encodedWords(e mime.WordEncoder, text string) string {
	if coded := e.Encode("utf-8", text); coded != text {
		return coded
	}
	// What mime leaves alone is ASCII, so that it may be cut anywhere.
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for len(text) > 0 {
		n := min(len(text), 20) // 20 codes of 3 bytes and 12 of frame: under the 75 of RFC 2047
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		out.WriteString("=?utf-8?q?")
		for _, c := range []byte(text[:n]) {
			out.Write([]byte{'=', hex[c>>4], hex[c&15]})
		}
		out.WriteString("?=")
		text = text[n:]
	}
	return out.String()
}

// plain says whether a header brings text back unchanged.
func plain(text string) bool {
	if strings.Contains(text, "=?") || strings.TrimSpace(text) != text {
		return false
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
