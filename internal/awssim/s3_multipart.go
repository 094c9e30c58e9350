package awssim

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxParts is how many parts an object may have, and the highest part number.
const maxParts = 10_000

// upload is an unfinished multipart upload; s3State.mu guards it.
type upload struct {
	id, key    string
	initiated  time.Time
	attributes attributes
	algorithm  checksumAlgorithm // what was asked for at its creation, "" if nothing
	kind       string            // fullObject or composite
	parts      map[int]*part
}

// part is one received part, never changed.
type part struct {
	number   int
	etag     string
	modified time.Time
	blob     blob
	digests  map[checksumAlgorithm][]byte
	md5      []byte
}

func (s *Server) createUpload(c *call) (*response, *apiError) {
	a, e := s.takeAttributes(c)
	if e != nil {
		return nil, e
	}
	h := c.req.Header
	algorithm := checksumAlgorithm(strings.ToUpper(h.Get("X-Amz-Checksum-Algorithm")))
	kind, e := checksumKind(algorithm, h.Get("X-Amz-Checksum-Type"))
	if e != nil {
		return nil, e
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	s.s3.uploads++
	u := &upload{
		id: fmt.Sprintf("awssim-upload-%08d", s.s3.uploads), key: c.s3.key, initiated: c.now,
		attributes: a, algorithm: algorithm, kind: kind, parts: map[int]*part{},
	}
	c.s3.bucket.uploads[u.id] = u
	r, e := xmlResponse(struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{Bucket: c.s3.bucketName, Key: u.key, UploadID: u.id})
	if e != nil {
		return nil, e
	}
	a.setEncryption(r.header)
	if algorithm != "" {
		r.header.Set("X-Amz-Checksum-Algorithm", string(algorithm))
		r.header.Set("X-Amz-Checksum-Type", kind)
	}
	return r, nil
}

// checksumKind settles an upload's checksum type: SHA are composite only,
// CRC64NVME full-object only (Amazon S3 user guide, "Checking object integrity").
func checksumKind(a checksumAlgorithm, kind string) (string, *apiError) {
	switch {
	case a != "" && !a.known():
		return "", badRequest("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
	case kind != "" && kind != fullObject && kind != composite:
		return "", badRequest("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
	case kind != "" && a == "":
		return "", badRequest("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case kind == composite && a == algCRC64NVME, kind == fullObject && a != "" && !a.linear():
		return "", badRequest("InvalidRequest", "The "+kind+" checksum type cannot be used with the "+strings.ToLower(string(a))+" checksum algorithm.")
	case kind != "":
		return kind, nil
	case a == "" || a == algCRC64NVME:
		return fullObject, nil
	}
	return composite, nil
}

func (s *Server) uploadPart(c *call) (*response, *apiError) {
	n, err := strconv.Atoi(c.s3.query.Get("partNumber"))
	if err != nil || n < 1 || n > maxParts {
		return nil, badRequest("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive",
			detail{"ArgumentName", "partNumber"}, detail{"ArgumentValue", c.s3.query.Get("partNumber")})
	}
	u, e := s.findUpload(c)
	if e != nil {
		return nil, e
	}
	announced, e := sentChecksum(c.req.Header)
	if e != nil {
		return nil, e
	}
	if e := checkPartAlgorithm(u, announced.algorithm); e != nil {
		return nil, e
	}
	if key := u.attributes.kmsKey; key != "" {
		if _, e := s.useKey(c, c.s3.conf.Region, key, "kms:GenerateDataKey"); e != nil {
			return nil, e
		}
	}
	p, e := s.takePayload(c, announced, u.algorithm)
	if e != nil {
		return nil, e
	}
	done := &part{
		number: n, etag: etagOf(p.md5, u.attributes, 0), modified: c.now, blob: p.blob,
		digests: p.digests, md5: p.md5,
	}
	if e := s.keepPart(c, u, done); e != nil {
		return nil, e
	}
	r := emptyResponse(http.StatusOK)
	r.header.Set("Etag", done.etag)
	if p.sent != "" {
		wholeChecksum(p).setHeaders(r.header)
		r.header.Del("X-Amz-Checksum-Type")
	}
	u.attributes.setEncryption(r.header)
	return r, nil
}

// checkPartAlgorithm: a part's checksum must be the upload's, and none where
// none was asked for (github.com/apache/opendal/pull/4533 has S3's words); it
// may be left out where the whole object's is to be checked.
func checkPartAlgorithm(u *upload, got checksumAlgorithm) *apiError {
	if got == u.algorithm || got == "" && u.kind == fullObject {
		return nil
	}
	name := func(a checksumAlgorithm) string {
		if a == "" {
			return "null"
		}
		return strings.ToLower(string(a))
	}
	return badRequest("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: "+name(u.algorithm)+", actual checksum Type: "+name(got))
}

// keepPart adds a part, if the upload is still there.
func (s *Server) keepPart(c *call, u *upload, p *part) *apiError {
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	stale := p.blob
	var e *apiError
	if c.s3.bucket.uploads[u.id] != u {
		e = noSuchUpload(u.id)
	} else {
		old := u.parts[p.number]
		u.parts[p.number] = p
		if old == nil {
			return nil
		}
		stale = old.blob
	}
	if err := stale.remove(); err != nil {
		return internalError(err)
	}
	return e
}

func (s *Server) findUpload(c *call) (*upload, *apiError) {
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	id := c.s3.query.Get("uploadId")
	u, ok := c.s3.bucket.uploads[id]
	if !ok || u.key != c.s3.key {
		return nil, noSuchUpload(id)
	}
	return u, nil
}

func noSuchUpload(id string) *apiError {
	return &apiError{
		Status: http.StatusNotFound, Code: "NoSuchUpload",
		Message: "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
		Detail:  []detail{{"UploadId", id}},
	}
}

func (s *Server) abortUpload(c *call) (*response, *apiError) {
	u, e := s.findUpload(c)
	if e != nil {
		return nil, e
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	if c.s3.bucket.uploads[u.id] != u {
		return nil, noSuchUpload(u.id)
	}
	delete(c.s3.bucket.uploads, u.id)
	for _, p := range u.parts {
		if err := p.blob.remove(); err != nil {
			return nil, internalError(err)
		}
	}
	return emptyResponse(http.StatusNoContent), nil
}

// sortedParts under s3State.mu.
func (u *upload) sortedParts() []*part {
	var parts []*part
	for _, p := range u.parts {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b *part) int { return a.number - b.number })
	return parts
}
