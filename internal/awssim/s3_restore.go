package awssim

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"time"
)

// restore is a thaw of an archived object.
type restore struct {
	ready   time.Time // until then it is under way
	expires time.Time
}

func (r *restore) readable(now time.Time) bool {
	return r != nil && !now.Before(r.ready) && now.Before(r.expires)
}

func (r *restore) ongoing(now time.Time) bool { return r != nil && now.Before(r.ready) }

// header is x-amz-restore; a thaw that has ended is not told.
func (r *restore) header(now time.Time) string {
	switch {
	case r.ongoing(now):
		return `ongoing-request="true"`
	case r.readable(now):
		return `ongoing-request="false", expiry-date="` + httpDate(r.expires) + `"`
	}
	return ""
}

// thawTime is the longer end of what AWS says (Amazon S3 user guide, "Archive
// retrieval options"); 0: there is no such tier.
func thawTime(class, tier string) time.Duration {
	switch class + " " + tier {
	case "GLACIER Expedited":
		return 5 * time.Minute
	case "GLACIER Standard":
		return 5 * time.Hour
	case "GLACIER Bulk", "DEEP_ARCHIVE Standard":
		return 12 * time.Hour
	case "DEEP_ARCHIVE Bulk":
		return 48 * time.Hour
	}
	return 0
}

type restoreRequest struct {
	XMLName xml.Name `xml:"RestoreRequest"`
	Days    int
	Tier    string                // the old place of it
	Job     struct{ Tier string } `xml:"GlacierJobParameters"`
}

func (s *Server) restoreObject(c *call) (*response, *apiError) {
	announced, e := sentChecksum(c.req.Header)
	if e != nil {
		return nil, e
	}
	var want restoreRequest
	if e := s.takeXML(c, announced, &want); e != nil {
		return nil, e
	}
	tier := want.Job.Tier
	if tier == "" {
		tier = "Standard"
	}
	c.summary += " " + tier
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	o, ok := c.s3.bucket.objects[c.s3.key]
	if !ok {
		return nil, s.missing(c)
	}
	class := o.attributes.class
	if o.tier != "" {
		return nil, notImplemented("RestoreObject of an archive tier")
	}
	if !cold(class) {
		return nil, &apiError{
			Status: http.StatusForbidden, Code: "InvalidObjectState", Message: "Restore is not allowed for the object's current storage class",
			Detail: []detail{{"StorageClass", class}},
		}
	}
	thaw := thawTime(class, tier)
	if want.Days < 1 || thaw == 0 {
		return nil, badRequest("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	life := time.Duration(want.Days) * 24 * time.Hour
	status := http.StatusAccepted
	next := &restore{ready: c.now.Add(thaw)}
	switch now := o.restore; {
	case now.ongoing(c.now) && !next.ready.Before(now.ready):
		return nil, &apiError{Status: http.StatusConflict, Code: "RestoreAlreadyInProgress", Message: "Object restore is already in progress"}
	case now.readable(c.now):
		status, next.ready = http.StatusOK, now.ready // only the days change
		next.expires = midnightAfter(c.now.Add(life))
	default:
		next.expires = midnightAfter(next.ready.Add(life))
	}
	o.restore = next
	return emptyResponse(status), nil
}

// midnightAfter: S3 rounds the expiry up to the next midnight UTC.
func midnightAfter(t time.Time) time.Time {
	return t.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// takeXML reads and verifies a request's document.
func (s *Server) takeXML(c *call, announced sent, v any) *apiError {
	if c.s3.length > maxForm {
		return badRequest("MaxMessageLengthExceeded", "Your request was too big.")
	}
	sums := newSums(announced.algorithm)
	text, err := io.ReadAll(io.TeeReader(c.body, sums))
	if err != nil {
		return payloadError(err)
	}
	if e := checkPayload(c, announced, payload{md5: sums.md5.Sum(nil), digests: sums.digests()}); e != nil {
		return e
	}
	if err := xml.Unmarshal(text, v); err != nil {
		return malformedXML(err)
	}
	return nil
}

func malformedXML(err error) *apiError {
	return badRequest("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema", detail{"Reason", err.Error()})
}

var errNoParts = errors.New("no parts are listed")
