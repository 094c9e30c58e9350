package awssim

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// conditions are those of a write (Amazon S3 user guide, "How to prevent object
// overwrites with conditional writes").
type conditions struct {
	ifMatch     string
	ifNoneMatch bool
	deletes     int // of the key when the write began
}

func (s *Server) takeConditions(c *call) (conditions, *apiError) {
	if s.cfg.IgnoreConditionals || c.s3.conf.IgnoreConditionals {
		return conditions{}, nil
	}
	match, none := c.req.Header.Get("If-Match"), c.req.Header.Get("If-None-Match")
	switch {
	case none != "" && none != "*", match == "*":
		return conditions{}, notImplemented("If-None-Match, If-Match")
	case none != "" && match != "":
		return conditions{}, notImplemented("If-Match with If-None-Match")
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	return conditions{ifMatch: match, ifNoneMatch: none != "", deletes: c.s3.bucket.deletes[c.s3.key]}, nil
}

// checkWrite decides at the moment of the write, under s3State.mu. A deletion
// that came in between is a conflict.
func (s *Server) checkWrite(c *call, cond conditions) *apiError {
	if cond.ifMatch == "" && !cond.ifNoneMatch {
		return nil
	}
	b := c.s3.bucket
	o, exists := b.objects[c.s3.key]
	switch {
	case cond.ifNoneMatch && exists:
		return preconditionFailed("If-None-Match")
	case b.deletes[c.s3.key] != cond.deletes:
		return &apiError{
			Status: http.StatusConflict, Code: "ConditionalRequestConflict",
			Message: "The conditional request cannot succeed due to a conflicting operation against this resource.",
			Detail:  []detail{{"Condition", "If-Match, If-None-Match"}, {"Key", c.s3.key}},
		}
	case cond.ifMatch != "" && !exists:
		return s.missing(c)
	case cond.ifMatch != "" && !sameETag(cond.ifMatch, o.etag):
		return preconditionFailed("If-Match")
	}
	return nil
}

func sameETag(a, b string) bool { return strings.Trim(a, `"`) == strings.Trim(b, `"`) }

func preconditionFailed(condition string) *apiError {
	return &apiError{
		Status: http.StatusPreconditionFailed, Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold",
		Detail: []detail{{"Condition", condition}},
	}
}

// readConditions are those of GET and HEAD (RFC 9110, section 13).
func readConditions(c *call, o *object) (*response, *apiError) {
	h := c.req.Header
	if want := h.Get("If-Match"); want != "" && want != "*" && !sameETag(want, o.etag) {
		return nil, preconditionFailed("If-Match")
	}
	if t, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && h.Get("If-Match") == "" && o.modified.After(t) {
		return nil, preconditionFailed("If-Unmodified-Since")
	}
	none := h.Get("If-None-Match")
	since, err := http.ParseTime(h.Get("If-Modified-Since"))
	if none != "" && (none == "*" || sameETag(none, o.etag)) || none == "" && err == nil && !o.modified.After(since.Add(time.Second-1)) {
		r := emptyResponse(http.StatusNotModified)
		r.header.Set("Etag", o.etag)
		return r, nil
	}
	return nil, nil
}

// takeRange reads a Range header: one range of bytes, which must begin within
// the object. What is no such range is ignored, as HTTP has it.
func takeRange(header string, size int64) (from, length int64, partial bool, e *apiError) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !ok || !dash || strings.Contains(spec, ",") {
		return 0, size, false, nil
	}
	a, errA := strconv.ParseUint(first, 10, 62)
	b, errB := strconv.ParseUint(last, 10, 62)
	from, to := int64(a), int64(b)
	switch {
	case first == "" && errB == nil:
		from, to = max(0, size-to), size-1
		if b == 0 {
			from = size
		}
	case errA == nil && last == "":
		to = size - 1
	case errA != nil || errB != nil || to < from:
		return 0, size, false, nil
	}
	if from >= size {
		return 0, 0, false, &apiError{
			Status: http.StatusRequestedRangeNotSatisfiable, Code: "InvalidRange", Message: "The requested range is not satisfiable",
			Header: http.Header{"Content-Range": {"bytes */" + itoa(size)}},
			Detail: []detail{{"RangeRequested", header}, {"ActualObjectSize", itoa(size)}},
		}
	}
	return from, min(to, size-1) - from + 1, true, nil
}
