package awssim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Bucket is a bucket of the account.
type Bucket struct {
	Name   string
	Region string // default Config.Region
	// Deny makes the bucket's own policy refuse everything.
	Deny bool
	// DefaultKMSKey encrypts objects that do not ask for an encryption:
	// a key's id, ARN or alias. Empty: AES256.
	DefaultKMSKey string
	// IgnoreConditionals plays a store that does not know If-Match and
	// If-None-Match on writes.
	IgnoreConditionals bool
}

type bucket struct {
	Bucket
	objects map[string]*object
	uploads map[string]*upload
	deletes map[string]int // by key; a conditional write that sees it move is in conflict
}

type s3State struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	blobs   int // names of files so far
	uploads int // ids so far
	// replaced are the writes over an object that did not say which one they replace.
	replaced []string
}

// s3Call is what S3's routing and payload check found out about a call.
type s3Call struct {
	bucketName, key string
	bucket          *bucket // read and changed under s3State.mu only
	conf            Bucket  // the bucket's settings when the call came
	query           url.Values
	route           s3Route
	length          int64       // of the payload, decoded
	trailer         http.Header // behind the payload, filled at its end
}

// s3Route is one operation.
type s3Route struct {
	action string
	iam    string
	query  []string // parameters it knows
	run    func(*call) (*response, *apiError)
}

// AddBucket makes a bucket, or changes the settings of the one of that name.
func (s *Server) AddBucket(b Bucket) {
	if b.Region == "" {
		b.Region = s.cfg.Region
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	if old, ok := s.s3.buckets[b.Name]; ok {
		old.Bucket = b
		return
	}
	s.s3.buckets[b.Name] = &bucket{Bucket: b, objects: map[string]*object{}, uploads: map[string]*upload{}, deletes: map[string]int{}}
}

func (s *Server) admitS3(c *call) *apiError {
	q, err := url.ParseQuery(c.req.URL.RawQuery)
	if err != nil {
		return badRequest("InvalidURI", "Couldn't parse the specified URI.")
	}
	c.s3.query = q
	c.s3.bucketName, c.s3.key, _ = strings.Cut(strings.TrimPrefix(c.req.URL.Path, "/"), "/")
	route, known := s.routeS3(c)
	c.Action, c.s3.route = route.action, route
	if e := s.verify(c, c.req.Header.Get("X-Amz-Content-Sha256")); e != nil {
		return e
	}
	if !known {
		return &apiError{Status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed", Message: "The specified method is not allowed against this resource."}
	}
	for name := range q {
		if name != "x-id" && !slices.Contains(route.query, name) {
			return notImplemented(name)
		}
	}
	if e := checkHeaders(c); e != nil {
		return e
	}
	if e := s.enterBucket(c); e != nil {
		return e
	}
	if e := s.authorizeS3(c); e != nil {
		return e
	}
	c.summary = s3Summary(c)
	return preparePayload(c)
}

// routeS3 names the operation. Copies and sub-resources that are not listed do
// not exist here.
func (s *Server) routeS3(c *call) (s3Route, bool) {
	has := func(name string) bool { _, ok := c.s3.query[name]; return ok }
	if c.s3.bucketName == "" {
		return s3Route{}, false
	}
	if c.s3.key == "" {
		return s.routeBucket(c.req.Method, has)
	}
	switch c.req.Method {
	case http.MethodPut:
		if has("uploadId") {
			return s3Route{"UploadPart", "s3:PutObject", []string{"uploadId", "partNumber"}, s.uploadPart}, true
		}
		return s3Route{"PutObject", "s3:PutObject", nil, s.putObject}, true
	case http.MethodHead:
		return s3Route{"HeadObject", "s3:GetObject", nil, s.getObject}, true
	case http.MethodGet:
		switch {
		case has("uploadId"):
			return s3Route{"ListParts", "s3:ListMultipartUploadParts", []string{"uploadId", "max-parts", "part-number-marker"}, s.listParts}, true
		case has("tagging"):
			return s3Route{"GetObjectTagging", "s3:GetObjectTagging", []string{"tagging"}, s.getObjectTagging}, true
		}
		return s3Route{"GetObject", "s3:GetObject", nil, s.getObject}, true
	case http.MethodPost:
		switch {
		case has("uploads"):
			return s3Route{"CreateMultipartUpload", "s3:PutObject", []string{"uploads"}, s.createUpload}, true
		case has("uploadId"):
			return s3Route{"CompleteMultipartUpload", "s3:PutObject", []string{"uploadId"}, s.completeUpload}, true
		case has("restore"):
			return s3Route{"RestoreObject", "s3:RestoreObject", []string{"restore"}, s.restoreObject}, true
		}
	case http.MethodDelete:
		if has("uploadId") {
			return s3Route{"AbortMultipartUpload", "s3:AbortMultipartUpload", []string{"uploadId"}, s.abortUpload}, true
		}
		return s3Route{"DeleteObject", "s3:DeleteObject", nil, s.deleteObject}, true
	}
	return s3Route{}, false
}

func (s *Server) routeBucket(method string, has func(string) bool) (s3Route, bool) {
	switch {
	case method == http.MethodHead:
		return s3Route{"HeadBucket", "s3:ListBucket", nil, s.headBucket}, true
	case method != http.MethodGet:
		return s3Route{}, false
	case has("location"):
		return s3Route{"GetBucketLocation", "s3:GetBucketLocation", []string{"location"}, s.bucketLocation}, true
	case has("uploads"):
		return s3Route{
			"ListMultipartUploads", "s3:ListBucketMultipartUploads",
			[]string{"uploads", "prefix", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"},
			s.listUploads,
		}, true
	case has("list-type"):
		return s3Route{
			"ListObjectsV2", "s3:ListBucket",
			[]string{"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner"},
			s.listObjects,
		}, true
	}
	return s3Route{}, false
}

// enterBucket finds the bucket and checks that the call came to its region: the
// one endpoint plays each region that a signature names.
func (s *Server) enterBucket(c *call) *apiError {
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	b, ok := s.s3.buckets[c.s3.bucketName]
	if !ok {
		return &apiError{
			Status: http.StatusNotFound, Code: "NoSuchBucket", Message: "The specified bucket does not exist",
			Detail: []detail{{"BucketName", c.s3.bucketName}},
		}
	}
	c.s3.bucket, c.s3.conf = b, b.Bucket
	anywhere := c.Action == "GetBucketLocation" && c.region == "us-east-1"
	if c.region != b.Region && !anywhere {
		return &apiError{
			Status: http.StatusMovedPermanently, Code: "PermanentRedirect",
			Message: "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
			Header:  http.Header{"X-Amz-Bucket-Region": {b.Region}},
			Detail:  []detail{{"Endpoint", b.Name + ".s3." + b.Region + ".amazonaws.com"}, {"Bucket", b.Name}},
		}
	}
	if owner := c.req.Header.Get("X-Amz-Expected-Bucket-Owner"); owner != "" && owner != s.cfg.Account {
		return &apiError{Status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
	}
	if b.Deny {
		e := accessDenied(c, c.s3.route.iam, c.resource(), "with an explicit deny in a resource-based policy")
		if c.Action == "HeadBucket" {
			e.Header = http.Header{"X-Amz-Bucket-Region": {b.Region}}
		}
		return e
	}
	return nil
}

// authorizeS3 checks the operation's action and those that its headers add.
func (s *Server) authorizeS3(c *call) *apiError {
	if e := s.authorize(c, c.s3.route.iam, c.resource()); e != nil {
		if c.Action == "HeadBucket" {
			e.Header = http.Header{"X-Amz-Bucket-Region": {c.s3.conf.Region}}
		}
		return e
	}
	h := c.req.Header
	if h.Get("X-Amz-Tagging") != "" {
		if e := s.authorize(c, "s3:PutObjectTagging", c.resource()); e != nil {
			return e
		}
	}
	if c.s3.route.iam == "s3:PutObject" && h.Get("If-Match") != "" {
		return s.authorize(c, "s3:GetObject", c.resource()) // If-Match reveals the object's ETag
	}
	return nil
}

// resource is the ARN a call is about.
func (c *call) resource() string {
	arn := "arn:aws:s3:::" + c.s3.bucketName
	if c.s3.key != "" {
		arn += "/" + c.s3.key
	}
	return arn
}

// missing is the answer for an object that is not there: without the right to
// list, S3 does not tell absent from forbidden.
func (s *Server) missing(c *call) *apiError {
	if e := s.authorize(c, "s3:ListBucket", "arn:aws:s3:::"+c.s3.bucketName); e != nil {
		return e
	}
	return &apiError{
		Status: http.StatusNotFound, Code: "NoSuchKey", Message: "The specified key does not exist.",
		Detail: []detail{{"Key", c.s3.key}},
	}
}

func notImplemented(what string) *apiError {
	return &apiError{
		Status: http.StatusNotImplemented, Code: "NotImplemented", Message: "A header you provided implies functionality that is not implemented",
		Detail: []detail{{"Header", what}},
	}
}

// s3Summary is the trace's line: what was asked, without what varies between runs.
func s3Summary(c *call) string {
	line := c.s3.bucketName
	if c.s3.key != "" {
		line += "/" + c.s3.key
	}
	if c.Action == "UploadPart" {
		line += " part " + c.s3.query.Get("partNumber")
	}
	h := c.req.Header
	for _, name := range []string{"Range", "If-None-Match", "If-Match", "X-Amz-Storage-Class", "X-Amz-Server-Side-Encryption", "X-Amz-Tagging"} {
		if v := h.Get(name); v != "" {
			line += fmt.Sprintf(" %s=%s", strings.ToLower(strings.TrimPrefix(name, "X-Amz-")), v)
		}
	}
	return line
}
