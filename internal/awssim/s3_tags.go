package awssim

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of object tags (Amazon S3 user guide, "Categorizing your objects using
// tags"); lengths are in UTF-16 units, as in all of AWS's Java services.
const (
	maxObjectTags     = 10
	maxObjectTagKey   = 128
	maxObjectTagValue = 256
)

// ObjectTag is one tag of an object.
type ObjectTag struct{ Key, Value string }

// parseTagging reads the x-amz-tagging header.
func parseTagging(header string) ([]ObjectTag, *apiError) {
	malformed := badRequest("InvalidArgument",
		"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
		detail{"ArgumentName", "x-amz-tagging"}, detail{"ArgumentValue", header})
	var tags []ObjectTag
	for pair := range strings.SplitSeq(header, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		key, errKey := url.QueryUnescape(name)
		text, errValue := url.QueryUnescape(value)
		if errKey != nil || errValue != nil || strings.ContainsAny(pair, ";") || !utf8.ValidString(key+text) {
			return nil, malformed
		}
		if slices.ContainsFunc(tags, func(t ObjectTag) bool { return t.Key == key }) {
			return nil, malformed
		}
		tags = append(tags, ObjectTag{key, text})
	}
	return tags, checkTags(tags)
}

func checkTags(tags []ObjectTag) *apiError {
	invalid := func(message string, t ObjectTag) *apiError {
		return badRequest("InvalidTag", message, detail{"TagKey", t.Key}, detail{"TagValue", t.Value})
	}
	if len(tags) > maxObjectTags {
		return badRequest("InvalidTag", "Object tags cannot be greater than 10")
	}
	for _, t := range tags {
		switch {
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return invalid("System tags cannot be added/updated by requester", t)
		case t.Key == "" || utf16Length(t.Key) > maxObjectTagKey || !tagCharacters(t.Key):
			return invalid("The TagKey you have provided is invalid", t)
		case utf16Length(t.Value) > maxObjectTagValue || !tagCharacters(t.Value):
			return invalid("The TagValue you have provided is invalid", t)
		}
	}
	return nil
}

func utf16Length(s string) int { return len(utf16.Encode([]rune(s))) }

// tagCharacters is AWS's pattern [\p{L}\p{Z}\p{N}_.:/=+\-@]*.
func tagCharacters(s string) bool {
	for _, r := range s {
		if !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r) {
			return false
		}
	}
	return true
}

func (s *Server) getObjectTagging(c *call) (*response, *apiError) {
	type tagSet struct {
		Tag []ObjectTag
	}
	s.s3.mu.Lock()
	o, ok := c.s3.bucket.objects[c.s3.key]
	s.s3.mu.Unlock()
	if !ok {
		return nil, s.missing(c)
	}
	return xmlResponse(struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ Tagging"`
		TagSet  tagSet
	}{TagSet: tagSet{o.attributes.tags}})
}

// setTagCount tells how many tags there are, where the caller may know.
func (s *Server) setTagCount(o *object, h http.Header) {
	if n := len(o.attributes.tags); n > 0 && s.iam.refusal("s3:GetObjectTagging") == "" {
		h.Set("X-Amz-Tagging-Count", itoa(int64(n)))
	}
}
