package layout

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"snap-to-s3/internal/objstore"
)

// The limits of S3 on the tags of an object (S3 User Guide, "Categorizing your
// storage using tags"; SDK documentation of PutObject).
const (
	maxTags     = 10
	maxTagKey   = 128
	maxTagValue = 256

	// maxTagHeader bounds the URL-encoded header. A request's header may have
	// 8 KB in all; 2 KB of that is metadata, and 2 KB is left for the rest.
	maxTagHeader = 4096

	namedTags = 10 // of those left out, in one note
)

// reasons why a tag stays in the record, in the order they are told.
const (
	tooMany = iota
	tooLong
	collides
	reserved
	reasons
)

var reasonText = [reasons]string{
	tooMany:  "an object has at most ten tags",
	tooLong:  "they would not fit into the request's header",
	collides: "on an object their names would be those of other tags",
	reserved: "S3 refuses the name",
}

// ObjectTags turns a snapshot's tags into those of its archive. The tags by
// which the work is driven (tagName and what begins with it and a dash, as
// listed in docs/format.md) and those of AWS itself ("aws:") are left out. The
// result depends on nothing but its arguments. Notes are lines for a person
// about tags that are only in the record.
func ObjectTags(tags map[string]string, tagName string) ([]objstore.Tag, []string) {
	var (
		out    []objstore.Tag
		left   [reasons][]string
		seen   = map[string]bool{}
		header int
	)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if driven(key, tagName) || strings.HasPrefix(key, "aws:") {
			continue
		}
		t := objstore.Tag{
			Key:   cut(tagText(key), maxTagKey),
			Value: cut(tagText(tags[key]), maxTagValue),
		}
		size := len("&=") + escaped(t.Key) + escaped(t.Value)
		switch {
		case t.Key == "" || strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			left[reserved] = append(left[reserved], key)
		case seen[t.Key]:
			left[collides] = append(left[collides], key)
		case len(out) == maxTags:
			left[tooMany] = append(left[tooMany], key)
		case header+size > maxTagHeader:
			left[tooLong] = append(left[tooLong], key)
		default:
			seen[t.Key] = true
			header += size
			out = append(out, t)
		}
	}
	return out, tagNotes(left)
}

func tagNotes(left [reasons][]string) []string {
	var notes []string
	for why, keys := range left {
		if len(keys) == 0 {
			continue
		}
		var quoted []string
		for _, k := range keys[:min(len(keys), namedTags)] {
			quoted = append(quoted, fmt.Sprintf("%q", k))
		}
		if more := len(keys) - len(quoted); more > 0 {
			quoted = append(quoted, fmt.Sprintf("and %d more", more))
		}
		notes = append(notes, fmt.Sprintf("%d tag(s) only in the record, since %s: %s",
			len(keys), reasonText[why], strings.Join(quoted, ", ")))
	}
	return notes
}

// escaped is the length of text in a URL-encoded header, where a space may be
// "+" or "%20".
func escaped(text string) int { return len(url.QueryEscape(text)) + 2*strings.Count(text, " ") }

// driven says whether key is one of the tags by which the work is driven.
func driven(key, tagName string) bool {
	return key == tagName || key == tagName+"-id" || key == tagName+"-owner"
}

// tagText keeps what AWS takes in tags everywhere (letters and digits of ASCII
// and + = . _ : / -, the predecessor's set). White space becomes a plain space,
// since S3 refuses tabs and line ends; everything else becomes "_".
func tagText(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9',
			strings.ContainsRune("+=._:/-", r):
			return r
		case unicode.IsSpace(r), unicode.Is(unicode.Z, r):
			return ' '
		}
		return '_'
	}, text)
}
