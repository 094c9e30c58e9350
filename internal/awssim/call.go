package awssim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// call is one request on its way through the simulator. The core fills it
// before a handler sees it.
type call struct {
	Service string // "ec2", "ebs", "s3" or "imds"
	Action  string // as in the service's API reference: "CreateTags", "PutObject"

	req       *http.Request
	form      url.Values // EC2's query form
	now       time.Time  // the server's clock when the call came
	requestID string
	summary   string // the handler's short human line for the trace, without the action

	region    string    // of the credential scope
	principal principal // who signed
	body      io.Reader // S3's payload, decoded; a wrong hash or trailer is an *apiError at its end
	s3        s3Call
	ebs       ebsCall
}

// apiError is an error as AWS answers it. Detail holds further elements of an
// S3 error body in order, or members of one of EBS.
type apiError struct {
	Status  int
	Code    string
	Message string
	Header  http.Header
	Detail  []detail
}

type detail struct{ Name, Value string }

// Error lets a payload reader return an apiError.
func (e *apiError) Error() string { return fmt.Sprintf("%s (%d): %s", e.Code, e.Status, e.Message) }

// response is an S3 answer. The core writes it, so that faults can come between
// a handler's effect and its answer.
type response struct {
	status int
	header http.Header
	body   io.ReadCloser // nil: none
	length int64         // of body, or for HEAD of what a GET would bring
	from   int64         // where in the object the body begins
	slow   time.Duration // white space is sent this long before the body, as S3 does for slow completions
}

// xmlResponse is a 200 with an XML document.
func xmlResponse(v any) (*response, *apiError) {
	text, err := marshalDocument(v)
	if err != nil {
		return nil, internalError(err)
	}
	return &response{
		status: http.StatusOK,
		header: http.Header{"Content-Type": {"application/xml"}},
		body:   io.NopCloser(bytes.NewReader(text)),
		length: int64(len(text)),
	}, nil
}

func emptyResponse(status int) *response { return &response{status: status, header: http.Header{}} }

func internalError(err error) *apiError {
	return &apiError{Status: http.StatusInternalServerError, Code: "InternalError", Message: "We encountered an internal error. Please try again. (" + err.Error() + ")"}
}

const ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

// ec2Body marshals a handler's result as <ActionResponse> with its request id.
// A nil result is the plain <return>true</return>.
func ec2Body(c *call, body any) ([]byte, error) {
	if body == nil {
		body = struct {
			Return bool `xml:"return"`
		}{true}
	}
	var text bytes.Buffer
	enc := xml.NewEncoder(&text)
	if err := enc.EncodeElement(body, xml.StartElement{Name: xml.Name{Local: "x"}}); err != nil {
		return nil, fmt.Errorf("marshal the answer to %s: %w", c.Action, err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("marshal the answer to %s: %w", c.Action, err)
	}
	inner := bytes.TrimSuffix(bytes.TrimPrefix(text.Bytes(), []byte("<x>")), []byte("</x>"))
	head := fmt.Sprintf("%s<%sResponse xmlns=%q><requestId>%s</requestId>", xml.Header, c.Action, ec2Namespace, c.requestID)
	return append(append([]byte(head), inner...), fmt.Sprintf("</%sResponse>", c.Action)...), nil
}

// ec2ErrorBody is EC2's error document.
func ec2ErrorBody(c *call, e *apiError) ([]byte, error) {
	type one struct{ Code, Message string }
	return marshalDocument(struct {
		XMLName   xml.Name `xml:"Response"`
		Errors    []one    `xml:"Errors>Error"`
		RequestID string
	}{Errors: []one{{e.Code, e.Message}}, RequestID: c.requestID})
}

// s3ErrorBody is S3's error document, with its details in order.
func s3ErrorBody(c *call, e *apiError) ([]byte, error) {
	type element struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
	}
	body := struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Details   []element
		RequestID string `xml:"RequestId"`
		HostID    string `xml:"HostId"`
	}{Code: e.Code, Message: e.Message, RequestID: c.requestID, HostID: hostID}
	for _, d := range e.Detail {
		body.Details = append(body.Details, element{xml.Name{Local: d.Name}, d.Value})
	}
	return marshalDocument(body)
}

// hostID is what S3 calls the extended request id.
const hostID = "awssim"

const xmlDeclaration = xml.Header

func marshalDocument(v any) ([]byte, error) {
	text, err := xml.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), text...), nil
}
