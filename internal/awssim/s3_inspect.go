package awssim

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Object is what a test sees of a stored object.
type Object struct {
	Bucket, Key       string
	Size              int64
	ETag              string
	Modified          time.Time
	StorageClass      string
	Headers           http.Header // Content-Type and the like
	Metadata          map[string]string
	Tags              []ObjectTag
	Encryption        string  // "AES256" or "aws:kms"
	KMSKey            string  // ARN
	ChecksumAlgorithm string  // "CRC64NVME"
	ChecksumType      string  // "FULL_OBJECT" or "COMPOSITE"
	Checksum          string  // Base64
	Parts             []int64 // bytes of each part; nil if it was put whole
	Open              func() io.ReadCloser
}

// Upload is an unfinished multipart upload.
type Upload struct {
	Bucket, Key, ID string
	Initiated       time.Time
	Parts           int
}

// Object is the object under a key, if there is one. Its Open works until the
// object is replaced or deleted.
func (s *Server) Object(bucket, key string) (Object, bool) {
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	b, ok := s.s3.buckets[bucket]
	if !ok {
		return Object{}, false
	}
	o, ok := b.objects[key]
	if !ok {
		return Object{}, false
	}
	return s.view(bucket, o), true
}

// Objects are all objects of a bucket by key.
func (s *Server) Objects(bucket string) []Object {
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	b, ok := s.s3.buckets[bucket]
	if !ok {
		return nil
	}
	var all []Object
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		all = append(all, s.view(bucket, b.objects[key]))
	}
	return all
}

func (s *Server) view(bucket string, o *object) Object {
	return Object{
		Bucket: bucket, Key: o.key, Size: o.contents.size, ETag: o.etag, Modified: o.modified, StorageClass: o.attributes.class,
		Headers: o.attributes.headers.Clone(), Metadata: maps.Clone(o.attributes.metadata), Tags: slices.Clone(o.attributes.tags),
		Encryption: o.attributes.sse, KMSKey: o.attributes.kmsKey,
		ChecksumAlgorithm: string(o.checksum.algorithm), ChecksumType: o.checksum.kind, Checksum: o.checksum.value,
		Parts: slices.Clone(o.parts),
		Open: func() io.ReadCloser {
			s.s3.mu.Lock()
			defer s.s3.mu.Unlock()
			return s.readFrom(o.contents)
		},
	}
}

// Uploads are the unfinished multipart uploads of a bucket by key.
func (s *Server) Uploads(bucket string) []Upload {
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	b, ok := s.s3.buckets[bucket]
	if !ok {
		return nil
	}
	var all []Upload
	for _, u := range b.sortedUploads() {
		all = append(all, Upload{Bucket: bucket, Key: u.key, ID: u.id, Initiated: u.initiated, Parts: len(u.parts)})
	}
	return all
}

// leftUploads names the unfinished uploads of all buckets, a line each.
func (s *Server) leftUploads() []string {
	s.s3.mu.Lock()
	names := slices.Sorted(maps.Keys(s.s3.buckets))
	s.s3.mu.Unlock()
	var lines []string
	for _, name := range names {
		for _, u := range s.Uploads(name) {
			lines = append(lines, fmt.Sprintf("multipart upload %s of s3://%s/%s with %d parts", u.ID, u.Bucket, u.Key, u.Parts))
		}
	}
	return lines
}
