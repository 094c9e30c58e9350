package awssim

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// object is what stands under a key. It is replaced, never changed, but for its
// restore and tier, under s3State.mu.
type object struct {
	key        string
	etag       string // quoted
	modified   time.Time
	contents   *contents
	attributes attributes
	checksum   checksum
	parts      []int64 // sizes, of a multipart object
	restore    *restore
	tier       string // of INTELLIGENT_TIERING: "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS" or ""
}

func (s *Server) putObject(c *call) (*response, *apiError) {
	cond, e := s.takeConditions(c)
	if e != nil {
		return nil, e
	}
	a, e := s.takeAttributes(c)
	if e != nil {
		return nil, e
	}
	announced, e := sentChecksum(c.req.Header)
	if e != nil {
		return nil, e
	}
	p, e := s.takePayload(c, announced, "")
	if e != nil {
		return nil, e
	}
	o := &object{
		key: c.s3.key, etag: etagOf(p.md5, a, 0), modified: c.now.Truncate(time.Second),
		contents: newContents(p.blob), attributes: a, checksum: wholeChecksum(p),
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	if e := s.place(c, cond, o); e != nil {
		if err := o.contents.release(); err != nil {
			return nil, internalError(err)
		}
		return nil, e
	}
	r := emptyResponse(http.StatusOK)
	r.header.Set("Etag", o.etag)
	o.checksum.setHeaders(r.header)
	a.setEncryption(r.header)
	return r, nil
}

// etagOf is the MD5 of the bytes, or of the parts' MD5s with their number. Under
// KMS it is something else.
func etagOf(sum []byte, a attributes, parts int) string {
	if a.sse == "aws:kms" {
		other := md5.Sum(append(append([]byte(nil), sum...), a.kmsKey...))
		sum = other[:]
	}
	text := hex.EncodeToString(sum)
	if parts > 0 {
		text += "-" + itoa(int64(parts))
	}
	return `"` + text + `"`
}

// place puts an object under its key if the condition holds, under s3State.mu.
func (s *Server) place(c *call, cond conditions, o *object) *apiError {
	b := c.s3.bucket
	if e := s.checkWrite(c, cond); e != nil {
		return e
	}
	old := b.objects[o.key]
	if old != nil && cond.ifMatch == "" && !s.cfg.IgnoreConditionals && !c.s3.conf.IgnoreConditionals {
		s.s3.replaced = append(s.s3.replaced, fmt.Sprintf("s3://%s/%s was replaced by a write that did not name what it replaces", c.s3.bucketName, o.key))
	}
	b.objects[o.key] = o
	if old != nil {
		if err := old.contents.release(); err != nil {
			return internalError(err)
		}
	}
	return nil
}

// getObject answers GET and HEAD. What it reads stays readable when the object
// is replaced meanwhile.
func (s *Server) getObject(c *call) (*response, *apiError) {
	s.s3.mu.Lock()
	o, ok := c.s3.bucket.objects[c.s3.key]
	var reader *contentsReader
	var now readiness
	if ok {
		reader, now = s.readFrom(o.contents), readiness{o.restore, o.tier}
	}
	s.s3.mu.Unlock()
	if !ok {
		return nil, s.missing(c)
	}
	r, e := s.objectAnswer(c, o, now)
	if e != nil || c.Action == "HeadObject" || r.status == http.StatusNotModified {
		if err := reader.Close(); err != nil {
			return nil, internalError(err)
		}
		return r, e
	}
	reader.off, reader.left = r.from, r.length
	r.body = reader
	return r, nil
}

func (s *Server) objectAnswer(c *call, o *object, now readiness) (*response, *apiError) {
	if c.Action == "GetObject" {
		if e := s.checkReadable(c, o, now); e != nil {
			return nil, e
		}
	}
	if r, e := readConditions(c, o); r != nil || e != nil {
		return r, e
	}
	from, length, partial, e := takeRange(c.req.Header.Get("Range"), o.contents.size)
	if e != nil {
		return nil, e
	}
	r := emptyResponse(http.StatusOK)
	r.from, r.length = from, length
	o.attributes.setHeaders(r.header)
	r.header.Set("Etag", o.etag)
	r.header.Set("Last-Modified", httpDate(o.modified))
	r.header.Set("Accept-Ranges", "bytes")
	s.setTagCount(o, r.header)
	if text := now.thaw.header(c.now); text != "" {
		r.header.Set("X-Amz-Restore", text)
	}
	if now.tier != "" {
		r.header.Set("X-Amz-Archive-Status", now.tier)
	}
	if partial {
		r.status = http.StatusPartialContent
		r.header.Set("Content-Range", "bytes "+itoa(from)+"-"+itoa(from+length-1)+"/"+itoa(o.contents.size))
	} else if c.req.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
		o.checksum.setHeaders(r.header) // of a range S3 has no checksum to tell
	}
	return r, nil
}

// checkReadable refuses what is cold or under a key that the caller may not use.
func (s *Server) checkReadable(c *call, o *object, now readiness) *apiError {
	if cold(o.attributes.class) && !now.thaw.readable(c.now) || now.tier != "" {
		e := &apiError{
			Status: http.StatusForbidden, Code: "InvalidObjectState", Message: "The operation is not valid for the object's storage class",
			Detail: []detail{{"StorageClass", o.attributes.class}},
		}
		if now.tier != "" {
			e.Detail = append(e.Detail, detail{"AccessTier", now.tier})
		}
		return e
	}
	if o.attributes.kmsKey == "" {
		return nil
	}
	_, e := s.useKey(c, c.s3.conf.Region, o.attributes.kmsKey, "kms:Decrypt")
	return e
}

func (s *Server) deleteObject(c *call) (*response, *apiError) {
	want := c.req.Header.Get("If-Match")
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	b := c.s3.bucket
	o, ok := b.objects[c.s3.key]
	if want != "" && (!ok || want != "*" && !sameETag(want, o.etag)) {
		return nil, preconditionFailed("If-Match")
	}
	if ok {
		delete(b.objects, c.s3.key)
		b.deletes[c.s3.key]++
		if err := o.contents.release(); err != nil {
			return nil, internalError(err)
		}
	}
	return emptyResponse(http.StatusNoContent), nil
}
