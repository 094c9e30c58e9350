package awssim

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxPage is how many entries S3 lists at most in one answer.
const maxPage = 1000

type xmlPrefix struct{ Prefix string }

type xmlObject struct {
	Key               string
	LastModified      string
	ETag              string
	ChecksumAlgorithm checksumAlgorithm
	ChecksumType      string
	Size              int64
	StorageClass      string
}

type listResult struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	KeyCount              int
	MaxKeys               int
	IsTruncated           bool
	Contents              []xmlObject
	CommonPrefixes        []xmlPrefix
}

func (s *Server) listObjects(c *call) (*response, *apiError) {
	q := c.s3.query
	limit, e := takeLimit(q, "max-keys")
	if e != nil {
		return nil, e
	}
	encode, e := takeEncoding(q)
	if e != nil {
		return nil, e
	}
	if q.Get("list-type") != "2" {
		return nil, badRequest("InvalidArgument", "Invalid List Type specified in Request", detail{"ArgumentName", "list-type"})
	}
	r := listResult{
		Name: c.s3.bucketName, Prefix: encode(q.Get("prefix")), Delimiter: encode(q.Get("delimiter")), StartAfter: encode(q.Get("start-after")),
		ContinuationToken: q.Get("continuation-token"), EncodingType: q.Get("encoding-type"), MaxKeys: limit,
	}
	after := q.Get("start-after")
	if r.ContinuationToken != "" {
		raw, err := base64.RawURLEncoding.DecodeString(r.ContinuationToken)
		if err != nil {
			return nil, badRequest("InvalidArgument", "The continuation token provided is incorrect", detail{"ArgumentName", "continuation-token"})
		}
		after = string(raw)
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	objects := c.s3.bucket.objects
	last := ""
	for _, g := range groupKeys(slices.Sorted(maps.Keys(objects)), listing{q.Get("prefix"), q.Get("delimiter"), after}) {
		if r.KeyCount == limit {
			r.IsTruncated = limit > 0
			break
		}
		r.KeyCount++
		last = g.last
		if g.prefix != "" {
			r.CommonPrefixes = append(r.CommonPrefixes, xmlPrefix{encode(g.prefix)})
			continue
		}
		o := objects[g.last]
		r.Contents = append(r.Contents, xmlObject{
			Key: encode(o.key), LastModified: isoTime(o.modified), ETag: o.etag, Size: o.contents.size, StorageClass: o.attributes.class,
			ChecksumAlgorithm: o.checksum.algorithm, ChecksumType: o.checksum.kind,
		})
	}
	if r.IsTruncated {
		r.NextContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(last))
	}
	return xmlResponse(r)
}

// listing is which keys are wanted.
type listing struct{ prefix, delimiter, after string }

// group is one entry of a list: a key, or a common prefix with its last key.
type group struct{ prefix, last string }

// groupKeys rolls sorted keys up at the delimiter.
func groupKeys(keys []string, l listing) []group {
	var groups []group
	for _, k := range keys {
		if !strings.HasPrefix(k, l.prefix) || k <= l.after {
			continue
		}
		rolled := ""
		if l.delimiter != "" {
			if i := strings.Index(k[len(l.prefix):], l.delimiter); i >= 0 {
				rolled = k[:len(l.prefix)+i+len(l.delimiter)]
			}
		}
		if rolled != "" && rolled == l.after {
			continue // start-after named the prefix itself
		}
		if n := len(groups); rolled != "" && n > 0 && groups[n-1].prefix == rolled {
			groups[n-1].last = k
			continue
		}
		groups = append(groups, group{rolled, k})
	}
	return groups
}

func takeLimit(q url.Values, name string) (int, *apiError) {
	text := q.Get(name)
	if text == "" {
		return maxPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, badRequest("InvalidArgument", "Provided "+name+" not an integer or within integer range", detail{"ArgumentName", name}, detail{"ArgumentValue", text})
	}
	return min(n, maxPage), nil
}

func takeEncoding(q url.Values) (func(string) string, *apiError) {
	switch q.Get("encoding-type") {
	case "":
		return func(s string) string { return s }, nil
	case "url":
		return func(s string) string { return awsEscape(s, "/*") }, nil
	}
	return nil, badRequest("InvalidArgument", "Invalid Encoding Method specified in Request", detail{"ArgumentName", "encoding-type"})
}

type xmlUpload struct {
	Key               string
	UploadID          string `xml:"UploadId"`
	StorageClass      string
	Initiated         string
	ChecksumAlgorithm checksumAlgorithm `xml:",omitempty"`
	ChecksumType      string            `xml:",omitempty"`
}

type uploadsResult struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Prefix             string `xml:",omitempty"`
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Upload             []xmlUpload
}

func (s *Server) listUploads(c *call) (*response, *apiError) {
	q := c.s3.query
	limit, e := takeLimit(q, "max-uploads")
	if e != nil {
		return nil, e
	}
	encode, e := takeEncoding(q)
	if e != nil {
		return nil, e
	}
	r := uploadsResult{
		Bucket: c.s3.bucketName, KeyMarker: encode(q.Get("key-marker")), UploadIDMarker: q.Get("upload-id-marker"), Prefix: encode(q.Get("prefix")),
		EncodingType: q.Get("encoding-type"), MaxUploads: limit,
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	for _, u := range c.s3.bucket.sortedUploads() {
		key, id := q.Get("key-marker"), q.Get("upload-id-marker")
		past := u.key > key || u.key == key && id != "" && u.id > id
		if !past || !strings.HasPrefix(u.key, q.Get("prefix")) {
			continue
		}
		if len(r.Upload) == limit {
			r.IsTruncated = limit > 0
			break
		}
		r.Upload = append(r.Upload, xmlUpload{
			Key: encode(u.key), UploadID: u.id, StorageClass: u.attributes.class, Initiated: isoTime(u.initiated), ChecksumAlgorithm: u.algorithm,
			ChecksumType: u.kind,
		})
		r.NextKeyMarker, r.NextUploadIDMarker = encode(u.key), u.id
	}
	if !r.IsTruncated {
		r.NextKeyMarker, r.NextUploadIDMarker = "", ""
	}
	return xmlResponse(r)
}

func (b *bucket) sortedUploads() []*upload {
	return slices.SortedFunc(maps.Values(b.uploads), func(x, y *upload) int {
		if c := strings.Compare(x.key, y.key); c != 0 {
			return c
		}
		return strings.Compare(x.id, y.id)
	})
}
