package awssim

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a PUT's headers (Amazon S3 user guide, "Working with object
// metadata") and of keys ("Naming Amazon S3 objects").
const (
	maxMetadata = 2 << 10 // 2 KB, names without prefix and values
	maxHeaders  = 8 << 10 // 8 KB
	maxKey      = 1024    // bytes of UTF-8
	maxPart     = 5 << 30 // 5 GiB, of a part or a single PUT
	metaPrefix  = "X-Amz-Meta-"
)

// attributes is what a write says about an object beside its bytes.
type attributes struct {
	headers  http.Header // Content-Type and the like, given back as they came
	metadata map[string]string
	tags     []ObjectTag
	class    string
	sse      string // "AES256" or "aws:kms"
	kmsKey   string // ARN
}

// storageClasses is what PutObject takes on a general purpose bucket.
func storageClasses() []string {
	return []string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR"}
}

// cold says that an object of the class must be restored before it is read.
func cold(class string) bool { return class == "GLACIER" || class == "DEEP_ARCHIVE" }

// keptHeaders are given back by GET and HEAD.
func keptHeaders() []string {
	return []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}
}

// amzHeaders are the x-amz- headers that operations know beside metadata.
func amzHeaders(action string) []string {
	common := []string{"X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token", "X-Amz-Expected-Bucket-Owner", "X-Amz-Request-Payer", "X-Amz-User-Agent"}
	upload := []string{"X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Trailer", "X-Amz-Decoded-Content-Length"}
	for _, a := range checksumAlgorithms() {
		upload = append(upload, a.header())
	}
	attribute := []string{"X-Amz-Storage-Class", "X-Amz-Tagging", "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"}
	switch action {
	case "PutObject":
		return slices.Concat(common, upload, attribute)
	case "UploadPart":
		return slices.Concat(common, upload)
	case "CreateMultipartUpload":
		return slices.Concat(common, attribute, []string{"X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Type"})
	case "CompleteMultipartUpload":
		return slices.Concat(common, upload, []string{"X-Amz-Checksum-Type", "X-Amz-Mp-Object-Size"})
	case "RestoreObject":
		return slices.Concat(common, upload)
	case "GetObject", "HeadObject":
		return append(common, "X-Amz-Checksum-Mode")
	case "ListObjectsV2":
		return append(common, "X-Amz-Optional-Object-Attributes")
	}
	return common
}

// checkHeaders refuses what the operation does not know, keys that are too long
// and headers over S3's limits.
func checkHeaders(c *call) *apiError {
	if len(c.s3.key) > maxKey {
		return badRequest("KeyTooLongError", "Your key is too long", detail{"Size", strconv.Itoa(len(c.s3.key))}, detail{"MaxSizeAllowed", strconv.Itoa(maxKey)})
	}
	if !utf8.ValidString(c.s3.key) || strings.ContainsRune(c.s3.key, 0) {
		return badRequest("InvalidURI", "Couldn't parse the specified URI.")
	}
	total, known := 0, amzHeaders(c.Action)
	writes := c.Action == "PutObject" || c.Action == "CreateMultipartUpload"
	for name, values := range c.req.Header {
		for _, v := range values {
			total += len(name) + len(v)
		}
		switch {
		case !strings.HasPrefix(name, "X-Amz-"), writes && strings.HasPrefix(name, metaPrefix):
		case strings.HasPrefix(name, "X-Amz-Server-Side-Encryption") && !slices.Contains(known, name):
			return badRequest("InvalidArgument", strings.ToLower(name)+" header is not supported for this operation.", detail{"ArgumentName", strings.ToLower(name)})
		case !slices.Contains(known, name):
			return notImplemented(name)
		}
	}
	if total > maxHeaders {
		return badRequest("RequestHeaderSectionTooLarge", "Your request header section exceeds the maximum allowed size.", detail{"MaxSizeAllowed", strconv.Itoa(maxHeaders)})
	}
	return nil
}

// takeAttributes reads and checks what a PutObject or CreateMultipartUpload says.
func (s *Server) takeAttributes(c *call) (attributes, *apiError) {
	h := c.req.Header
	a := attributes{headers: http.Header{}, class: h.Get("X-Amz-Storage-Class")}
	for _, name := range keptHeaders() {
		if v := h.Get(name); v != "" {
			a.headers.Set(name, v)
		}
	}
	if enc := strings.Trim(strings.ReplaceAll(a.headers.Get("Content-Encoding"), "aws-chunked", ""), ", "); enc != "" {
		a.headers.Set("Content-Encoding", enc)
	} else {
		a.headers.Del("Content-Encoding")
	}
	if a.headers.Get("Content-Type") == "" {
		a.headers.Set("Content-Type", "binary/octet-stream")
	}
	if a.class == "" {
		a.class = "STANDARD"
	}
	if !slices.Contains(storageClasses(), a.class) {
		return a, badRequest("InvalidStorageClass", "The storage class you specified is not valid", detail{"StorageClassRequested", a.class})
	}
	var e *apiError
	if a.metadata, e = takeMetadata(h); e != nil {
		return a, e
	}
	if a.tags, e = parseTagging(h.Get("X-Amz-Tagging")); e != nil {
		return a, e
	}
	return a, s.takeEncryption(c, &a)
}

func takeMetadata(h http.Header) (map[string]string, *apiError) {
	metadata, size := map[string]string{}, 0
	for name, values := range h {
		short, ok := strings.CutPrefix(name, metaPrefix)
		if !ok {
			continue
		}
		v := strings.Join(values, ",")
		metadata[strings.ToLower(short)] = v
		size += len(short) + len(v)
	}
	if size > maxMetadata {
		return nil, badRequest("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
			detail{"Size", strconv.Itoa(size)}, detail{"MaxSizeAllowed", strconv.Itoa(maxMetadata)})
	}
	return metadata, nil
}

// takeEncryption settles how an object is encrypted and that its key may be used.
func (s *Server) takeEncryption(c *call, a *attributes) *apiError {
	h := c.req.Header
	key := h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
	a.sse = h.Get("X-Amz-Server-Side-Encryption")
	switch {
	case key != "" && a.sse != "aws:kms":
		return badRequest("InvalidArgument", "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
			detail{"ArgumentName", "x-amz-server-side-encryption"})
	case a.sse == "" && c.s3.conf.DefaultKMSKey != "":
		a.sse, key = "aws:kms", c.s3.conf.DefaultKMSKey
	case a.sse == "":
		a.sse = "AES256" // what every bucket does by default since January 2023
	case a.sse != "AES256" && a.sse != "aws:kms":
		return badRequest("InvalidEncryptionAlgorithmError", "The encryption request that you specified is not valid. The valid value is AES256.",
			detail{"ArgumentName", "x-amz-server-side-encryption"}, detail{"ArgumentValue", a.sse})
	}
	if a.sse != "aws:kms" {
		return nil
	}
	if key == "" {
		key = c.s3.conf.DefaultKMSKey
	}
	var e *apiError
	a.kmsKey, e = s.useKey(c, c.s3.conf.Region, key, "kms:GenerateDataKey")
	return e
}

func (a attributes) setEncryption(h http.Header) {
	h.Set("X-Amz-Server-Side-Encryption", a.sse)
	if a.kmsKey != "" {
		h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", a.kmsKey)
	}
}

// setHeaders gives back what was said at the write. Metadata outside ASCII come
// in RFC 2047 form; those with unprintable characters are only counted.
func (a attributes) setHeaders(h http.Header) {
	for name, values := range a.headers {
		h[name] = values
	}
	missing := 0
	for name, v := range a.metadata {
		switch {
		case !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }):
			missing++
		case strings.ContainsFunc(v, func(r rune) bool { return r > unicode.MaxASCII }):
			h.Set(metaPrefix+name, "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(v))+"?=")
		default:
			h.Set(metaPrefix+name, v)
		}
	}
	if missing > 0 {
		h.Set("X-Amz-Missing-Meta", strconv.Itoa(missing))
	}
	if a.class != "STANDARD" {
		h.Set("X-Amz-Storage-Class", a.class)
	}
	a.setEncryption(h)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
