package awssim

import (
	"encoding/base64"
	"encoding/xml"
	"strconv"
)

type xmlPart struct {
	PartNumber        int
	LastModified      string
	ETag              string
	Size              int64
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
}

type partsResult struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	PartNumberMarker     int
	NextPartNumberMarker int `xml:",omitempty"`
	MaxParts             int
	IsTruncated          bool
	StorageClass         string
	ChecksumAlgorithm    checksumAlgorithm `xml:",omitempty"`
	ChecksumType         string
	Part                 []xmlPart
}

func (s *Server) listParts(c *call) (*response, *apiError) {
	q := c.s3.query
	limit, e := takeLimit(q, "max-parts")
	if e != nil {
		return nil, e
	}
	after := 0
	if text := q.Get("part-number-marker"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, badRequest("InvalidArgument", "Provided part-number-marker not an integer or within integer range", detail{"ArgumentName", "part-number-marker"})
		}
		after = n
	}
	u, e := s.findUpload(c)
	if e != nil {
		return nil, e
	}
	r := partsResult{
		Bucket: c.s3.bucketName, Key: u.key, UploadID: u.id, PartNumberMarker: after, MaxParts: limit, StorageClass: u.attributes.class,
		ChecksumAlgorithm: u.algorithm, ChecksumType: u.kind,
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	for _, p := range u.sortedParts() {
		if p.number <= after {
			continue
		}
		if len(r.Part) == limit {
			r.IsTruncated = limit > 0
			break
		}
		r.Part = append(r.Part, partXML(p, u.algorithm))
		r.NextPartNumberMarker = p.number
	}
	if !r.IsTruncated {
		r.NextPartNumberMarker = 0
	}
	return xmlResponse(r)
}

func partXML(p *part, a checksumAlgorithm) xmlPart {
	x := xmlPart{PartNumber: p.number, LastModified: isoTime(p.modified), ETag: p.etag, Size: p.blob.size}
	v := base64.StdEncoding.EncodeToString(p.digests[a])
	switch a {
	case algCRC32:
		x.ChecksumCRC32 = v
	case algCRC32C:
		x.ChecksumCRC32C = v
	case algCRC64NVME:
		x.ChecksumCRC64NVME = v
	case algSHA1:
		x.ChecksumSHA1 = v
	case algSHA256:
		x.ChecksumSHA256 = v
	}
	return x
}
