package awssim

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// completeRequest is the document of CompleteMultipartUpload.
type completeRequest struct {
	XMLName xml.Name       `xml:"CompleteMultipartUpload"`
	Parts   []completePart `xml:"Part"`
}

type completePart struct {
	PartNumber        int
	ETag              string
	ChecksumCRC32     string
	ChecksumCRC32C    string
	ChecksumCRC64NVME string
	ChecksumSHA1      string
	ChecksumSHA256    string
}

func (p completePart) checksums() map[checksumAlgorithm]string {
	all := map[checksumAlgorithm]string{
		algCRC32: p.ChecksumCRC32, algCRC32C: p.ChecksumCRC32C, algCRC64NVME: p.ChecksumCRC64NVME,
		algSHA1: p.ChecksumSHA1, algSHA256: p.ChecksumSHA256,
	}
	for a, v := range all {
		if v == "" {
			delete(all, a)
		}
	}
	return all
}

func (s *Server) completeUpload(c *call) (*response, *apiError) {
	cond, e := s.takeConditions(c)
	if e != nil {
		return nil, e
	}
	// The checksum headers of this call are the object's, not its document's.
	var want completeRequest
	if e := s.takeXML(c, sent{}, &want); e != nil {
		return nil, e
	}
	if len(want.Parts) == 0 || len(want.Parts) > maxParts {
		return nil, malformedXML(errNoParts)
	}
	u, e := s.findUpload(c)
	if e != nil {
		return nil, e
	}
	if key := u.attributes.kmsKey; key != "" {
		if _, e := s.useKey(c, c.s3.conf.Region, key, "kms:Decrypt"); e != nil {
			return nil, e
		}
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	if c.s3.bucket.uploads[u.id] != u {
		return nil, noSuchUpload(u.id)
	}
	parts, e := s.pickParts(u, want.Parts)
	if e != nil {
		return nil, e
	}
	o := assemble(u, parts)
	if e := checkWhole(c, u, o); e != nil {
		return nil, e
	}
	if e := s.place(c, cond, o); e != nil {
		return nil, e
	}
	delete(c.s3.bucket.uploads, u.id)
	if e := dropOthers(u, parts); e != nil {
		return nil, e
	}
	return s.completeAnswer(c, o)
}

// pickParts checks the list against what was uploaded.
func (s *Server) pickParts(u *upload, wanted []completePart) ([]*part, *apiError) {
	ascending := func(a, b completePart) int { return a.PartNumber - b.PartNumber }
	if !slices.IsSortedFunc(wanted, ascending) || len(slices.CompactFunc(slices.Clone(wanted), samePart)) < len(wanted) {
		return nil, badRequest("InvalidPartOrder", "The list of parts was not in ascending order. The parts list must be specified in order by part number.", detail{"UploadId", u.id})
	}
	var parts []*part
	for i, w := range wanted {
		p, ok := u.parts[w.PartNumber]
		if !ok || !sameETag(w.ETag, p.etag) {
			return nil, invalidPart(u, w)
		}
		if e := checkPartChecksums(u, w, p); e != nil {
			return nil, e
		}
		if p.blob.size < s.cfg.MinPartSize && i < len(wanted)-1 {
			return nil, badRequest("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
				detail{"ProposedSize", itoa(p.blob.size)}, detail{"MinSizeAllowed", itoa(s.cfg.MinPartSize)},
				detail{"PartNumber", strconv.Itoa(p.number)}, detail{"ETag", p.etag})
		}
		if u.algorithm != "" && w.PartNumber != i+1 {
			// Amazon S3 user guide, "Using part-level checksums for multipart
			// uploads": numbers must be consecutive, or S3 answers 500.
			return nil, &apiError{Status: http.StatusInternalServerError, Code: "InternalError", Message: "We encountered an internal error. Please try again."}
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func samePart(a, b completePart) bool { return a.PartNumber == b.PartNumber }

func invalidPart(u *upload, w completePart) *apiError {
	return badRequest("InvalidPart",
		"One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
		detail{"UploadId", u.id}, detail{"PartNumber", strconv.Itoa(w.PartNumber)}, detail{"ETag", w.ETag})
}

func checkPartChecksums(u *upload, w completePart, p *part) *apiError {
	given := w.checksums()
	if u.kind == composite && given[u.algorithm] == "" {
		return badRequest("InvalidRequest", "The upload was created using a "+strings.ToLower(string(u.algorithm))+
			" checksum. The complete request must include the checksum for each part. It was missing for part "+strconv.Itoa(w.PartNumber)+" in the request.")
	}
	for a, v := range given {
		if v != base64.StdEncoding.EncodeToString(p.digests[a]) {
			return invalidPart(u, w)
		}
	}
	return nil
}

// assemble makes the object of its parts.
func assemble(u *upload, parts []*part) *object {
	o := &object{key: u.key, modified: u.initiated.Truncate(time.Second), attributes: u.attributes}
	var blobs []blob
	all := md5.New()
	for _, p := range parts {
		all.Write(p.md5)
		blobs = append(blobs, p.blob)
		o.parts = append(o.parts, p.blob.size)
	}
	o.etag = etagOf(all.Sum(nil), u.attributes, len(parts))
	o.contents = newContents(blobs...)
	algorithm := u.algorithm
	if algorithm == "" {
		algorithm = algCRC64NVME
	}
	o.checksum = combineChecksum(algorithm, u.kind, parts)
	return o
}

// checkWhole compares what the call says of the object with what was uploaded.
func checkWhole(c *call, u *upload, o *object) *apiError {
	h := c.req.Header
	if text := h.Get("X-Amz-Mp-Object-Size"); text != "" && text != itoa(o.contents.size) {
		return badRequest("InvalidRequest", "The provided 'x-amz-mp-object-size' header value "+text+" does not match what was computed: "+itoa(o.contents.size))
	}
	if kind := h.Get("X-Amz-Checksum-Type"); kind != "" && kind != u.kind {
		return badRequest("BadDigest", "The checksum type "+kind+" is not that of the upload: "+u.kind)
	}
	announced, e := sentChecksum(h)
	switch {
	case e != nil:
		return e
	case announced.algorithm == "":
		return nil
	case announced.algorithm != o.checksum.algorithm:
		return badRequest("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: "+strings.ToLower(string(u.algorithm))+", actual checksum Type: "+strings.ToLower(string(announced.algorithm)))
	case announced.value != o.checksum.value:
		return badDigest(announced.algorithm)
	}
	return nil
}

// dropOthers removes parts that were uploaded and are not in the object.
func dropOthers(u *upload, kept []*part) *apiError {
	in := map[*part]bool{}
	for _, p := range kept {
		in[p] = true
	}
	for _, p := range u.parts {
		if in[p] {
			continue
		}
		if err := p.blob.remove(); err != nil {
			return internalError(err)
		}
	}
	return nil
}

func (s *Server) completeAnswer(c *call, o *object) (*response, *apiError) {
	type result struct {
		XMLName           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
		Location          string
		Bucket            string
		Key               string
		ETag              string
		ChecksumCRC32     string `xml:",omitempty"`
		ChecksumCRC32C    string `xml:",omitempty"`
		ChecksumCRC64NVME string `xml:",omitempty"`
		ChecksumSHA1      string `xml:",omitempty"`
		ChecksumSHA256    string `xml:",omitempty"`
		ChecksumType      string
	}
	v := result{
		Location: s.Endpoint() + "/" + c.s3.bucketName + "/" + awsEscape(o.key, "/"), Bucket: c.s3.bucketName, Key: o.key,
		ETag: o.etag, ChecksumType: o.checksum.kind,
	}
	field := map[checksumAlgorithm]*string{
		algCRC32: &v.ChecksumCRC32, algCRC32C: &v.ChecksumCRC32C, algCRC64NVME: &v.ChecksumCRC64NVME,
		algSHA1: &v.ChecksumSHA1, algSHA256: &v.ChecksumSHA256,
	}[o.checksum.algorithm]
	*field = o.checksum.value
	r, e := xmlResponse(v)
	if e != nil {
		return nil, e
	}
	o.attributes.setEncryption(r.header)
	r.slow = s.cfg.CompleteTime
	return r, nil
}
