package awssim

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

// maxForm bounds an EC2 form and an S3 XML body: 10,000 parts with checksums fit.
const maxForm = 4 << 20 // 4 MiB

type requestCounter struct{ n atomic.Int64 }

// exchange is one call with its answer's writer and its line in the trace.
type exchange struct {
	*call
	w     http.ResponseWriter
	line  Call
	fault Fault
}

// serveAPI takes a call of EC2, EBS or S3 through all checks, in AWS's order.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	c := &call{req: r, now: s.clock.time(), Service: serviceOf(r)}
	n := s.requests.n.Add(1)
	c.requestID = fmt.Sprintf("AWSSIM%010X", n)
	if c.Service != "s3" {
		c.requestID = fmt.Sprintf("00000000-0000-4000-8000-%012x", n)
	}
	w.Header().Set("Date", httpDate(c.now))
	x := &exchange{call: c, w: w}
	if e := s.admit(x); e != nil {
		x.line = s.lineOf(c)
		s.finish(x, nil, e)
		return
	}
	x.line = s.lineOf(c)
	x.line.N = s.trace.number(c.Service, c.Action)
	x.fault = s.faults.ask(x.line)
	s.pause(r, s.cfg.Latency+x.fault.Delay)
	switch {
	case x.fault.CutBefore:
		s.cut(x, "cut")
	case x.fault.Hang:
		s.hang(r)
		s.cut(x, "hang")
	case x.fault.Throttle, !s.quotas.take(c.Service, c.Action):
		x.line.Fault = "throttle"
		s.finish(x, nil, throttled(c.Service, x.line.N))
		return
	case x.fault.Before != nil:
		x.line.Fault = "before"
		s.finish(x, nil, x.fault.Before.api())
		return
	}
	resp, e := s.handle(c)
	x.line.Summary = c.summary
	s.afterEffect(x, resp, e)
}

// afterEffect is what can go wrong once the handler has run.
func (s *Server) afterEffect(x *exchange, resp *response, e *apiError) {
	switch {
	case x.fault.After != nil:
		x.line.Fault = "after"
		discard(resp)
		resp, e = nil, x.fault.After.api()
	case x.fault.LoseAnswer:
		discard(resp)
		s.cut(x, "lost")
	case x.fault.HangAfter:
		discard(resp)
		s.hang(x.req)
		s.cut(x, "hang")
	}
	s.finish(x, resp, e)
}

func discard(resp *response) {
	if resp != nil && resp.body != nil {
		_ = resp.body.Close() // a body nobody will read
	}
}

// cut records the call and closes the connection without an answer.
func (s *Server) cut(x *exchange, how string) {
	x.line.Fault = how
	s.record(x.line)
	panic(http.ErrAbortHandler)
}

// admit finds out what a call is, who sent it and whether he may.
func (s *Server) admit(x *exchange) *apiError {
	switch x.Service {
	case "ec2":
		return s.admitEC2(x.call)
	case "ebs":
		return s.admitEBS(x.call)
	case "sts":
		return s.admitSTS(x.call)
	default:
		return s.admitS3(x.call)
	}
}

// readForm reads a call of the query protocol, which names its action in a form, and
// checks its signature.
func (s *Server) readForm(c *call) *apiError {
	text, err := io.ReadAll(io.LimitReader(c.req.Body, maxForm+1))
	if err != nil || len(text) > maxForm {
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "RequestEntityTooLarge", Message: "Request entity is too large"}
	}
	if c.form, err = url.ParseQuery(string(text)); err != nil {
		return badRequest("MalformedQueryString", "The query string contains a syntax error.")
	}
	c.Action = c.form.Get("Action")
	if e := s.verify(c, hexSHA256(text)); e != nil {
		return e
	}
	return nil
}

func (s *Server) admitEC2(c *call) *apiError {
	if e := s.readForm(c); e != nil {
		return e
	}
	switch {
	case c.region != s.cfg.Region:
		return &apiError{Status: http.StatusUnauthorized, Code: "AuthFailure", Message: "Credential should be scoped to a valid region, not '" + c.region + "'. "}
	case c.Action == "":
		return badRequest("MissingAction", "The request is missing an action or a required parameter.")
	case c.form.Get("Version") != "2016-11-15":
		return badRequest("NoSuchVersion", "The requested version ("+c.form.Get("Version")+") of service AmazonEC2 does not exist")
	}
	return s.authorize(c, "ec2:"+c.Action, "arn:aws:ec2:"+s.cfg.Region+":"+s.cfg.Account+":*")
}

// handle runs the service's handler and makes its answer ready to send.
func (s *Server) handle(c *call) (*response, *apiError) {
	switch c.Service {
	case "s3":
		return c.s3.route.run(c)
	case "ebs":
		return s.serveEBS(c)
	case "sts":
		return s.serveSTS(c)
	}
	body, e := s.serveEC2(c)
	if e != nil {
		return nil, e
	}
	text, err := ec2Body(c, body)
	if err != nil {
		return nil, internalError(err)
	}
	return &response{
		status: http.StatusOK, header: http.Header{"Content-Type": {"text/xml;charset=UTF-8"}},
		body: io.NopCloser(bytes.NewReader(text)), length: int64(len(text)),
	}, nil
}

// finish records the call and sends its answer.
func (s *Server) finish(x *exchange, resp *response, e *apiError) {
	if e != nil {
		resp = errorResponse(x.call, e)
		x.line.Code = e.Code
	}
	x.line.Status = resp.status
	if e == nil {
		x.spoil(resp)
	}
	s.record(x.line)
	drain(x.req)
	if err := s.send(x, resp); err != nil {
		s.log.Debug("simulated answer not sent", slog.String("action", x.Action), slog.Any("err", err))
		panic(http.ErrAbortHandler)
	}
}

func errorResponse(c *call, e *apiError) *response {
	marshal, kind := s3ErrorBody, "application/xml"
	switch c.Service {
	case "ec2":
		marshal = ec2ErrorBody
	case "ebs":
		marshal, kind = ebsErrorBody, ebsContent
	case "sts":
		marshal, kind = stsErrorBody, "text/xml"
	}
	text, err := marshal(c, e)
	if err != nil {
		text = []byte(err.Error())
	}
	resp := &response{status: e.Status, header: http.Header{}, body: io.NopCloser(bytes.NewReader(text)), length: int64(len(text))}
	for name, values := range e.Header {
		resp.header[name] = values
	}
	resp.header.Set("Content-Type", kind)
	if c.Service == "ebs" {
		resp.header.Set("X-Amzn-Errortype", e.Code)
	}
	return resp
}

// drain reads what the client is still sending, so that it reads our answer and
// not a reset: the SDK asks for 100-continue, yet does not wait for it.
func drain(r *http.Request) {
	if r.ContentLength <= maxPart {
		_, _ = io.Copy(io.Discard, r.Body) // the answer is decided whatever comes
	}
}

func (s *Server) send(x *exchange, resp *response) error {
	h := x.w.Header()
	for name, values := range resp.header {
		h[name] = values
	}
	if x.Service == "s3" {
		h.Set("X-Amz-Request-Id", x.requestID)
		h.Set("X-Amz-Id-2", hostID)
		h.Set("Server", "AmazonS3")
	} else {
		h.Set("X-Amzn-Requestid", x.requestID)
		h.Set("Server", map[string]string{"ec2": "AmazonEC2", "ebs": "Server"}[x.Service])
	}
	if resp.body != nil {
		defer resp.body.Close()
	}
	if resp.slow > 0 {
		return s.sendSlowly(x, resp)
	}
	if resp.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.FormatInt(resp.length, 10))
	}
	x.w.WriteHeader(resp.status)
	if resp.body == nil || x.req.Method == http.MethodHead {
		return nil
	}
	if most := max(x.fault.CutBody, x.fault.HangBody); most > 0 && most < resp.length {
		return s.sendSome(x, resp, most)
	}
	_, err := io.Copy(x.w, resp.body)
	return err
}

// sendSlowly begins a 200 and keeps the connection alive with white space after
// the XML declaration, as S3 does while it completes an upload.
func (s *Server) sendSlowly(x *exchange, resp *response) error {
	x.w.WriteHeader(resp.status)
	control := http.NewResponseController(x.w)
	head := make([]byte, len(xmlDeclaration))
	if _, err := io.ReadFull(resp.body, head); err != nil {
		return err
	}
	const steps = 4
	for i := range steps {
		if _, err := x.w.Write(head); err != nil {
			return err
		}
		if err := control.Flush(); err != nil {
			return err
		}
		head = []byte(" ")
		if i < steps-1 {
			s.pause(x.req, resp.slow/(steps-1))
		}
	}
	_, err := io.Copy(x.w, resp.body)
	return err
}

// serviceOf tells whom a call is for: by the signature's scope, else by its shape.
func serviceOf(r *http.Request) string {
	if a, err := parseAuthorization(r.Header.Get("Authorization")); err == nil && (a.service == "ec2" || a.service == "s3" || a.service == "ebs" || a.service == "sts") {
		return a.service
	}
	if r.Method == http.MethodPost && r.URL.Path == "/" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return "ec2"
	}
	return "s3"
}

// lineOf is what is known of a call before its handler runs.
func (s *Server) lineOf(c *call) Call {
	line := Call{Service: c.Service, Action: c.Action, Region: c.region, Summary: c.summary, Time: c.now}
	if c.Service == "ec2" && line.Summary == "" {
		line.Summary = ec2Summary(c.form)
	}
	if c.Service == "s3" {
		line.Bucket, line.Key = c.s3.bucketName, c.s3.key
		if c.Action == "UploadPart" {
			line.Part, _ = strconv.Atoi(c.s3.query.Get("partNumber")) // what is no number is refused later
		}
		return line
	}
	if c.Service == "ebs" {
		line.Target = c.ebs.snapshot
		return line
	}
	for _, name := range []string{"ResourceId.1", "VolumeId", "VolumeId.1", "SnapshotId", "SnapshotId.1", "InstanceId", "InstanceId.1"} {
		if line.Target == "" {
			line.Target = c.form.Get(name)
		}
	}
	return line
}
