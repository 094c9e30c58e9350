package aws

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// answer is what AWS said to a failed call.
type answer struct {
	code      string
	message   string // redacted
	status    int
	requestID string
}

func answerOf(err error) (answer, bool) {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return answer{}, false
	}
	a := answer{code: api.ErrorCode(), message: redact(api.ErrorMessage())}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		a.status = response.HTTPStatusCode()
	}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		a.requestID = response.ServiceRequestID()
	}
	if kindOf(a.code) == kindSignature {
		// These repeat the canonical request, with the session token in it.
		a.message = ""
	}
	return a, true
}

func (a answer) String() string {
	text := a.code
	if text == "" {
		text = "an answer without a code"
	}
	// The SDK makes up UnknownError where the answer has no message.
	if a.message != "" && a.message != a.code && a.message != "UnknownError" {
		text += ": " + a.message
	}
	var more []string
	if a.status != 0 {
		more = append(more, fmt.Sprintf("HTTP %d", a.status))
	}
	if a.requestID != "" {
		more = append(more, "request "+a.requestID)
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	return text
}

// The long opaque text that EC2 adds to a refusal; sts decode-authorization-message
// reads it, which needs a right of its own.
var encodedRefusal = regexp.MustCompile(`(?i)\s*encoded authorization failure message:?\s*\S+`)

// What may carry credentials in an URL, a canonical request or a header.
var secret = regexp.MustCompile(`(?i)(x-amz-(?:security-token|signature|credential)|authorization|aws_secret_access_key|signature)(\s*[=:]\s*)[^\s&;,"]+`)

// redact makes foreign text one line without credentials and without the
// encoded refusal.
func redact(text string) string {
	text = encodedRefusal.ReplaceAllString(text, "")
	text = secret.ReplaceAllString(text, "${1}${2}REDACTED")
	return strings.Join(strings.Fields(text), " ")
}

// operationOf is the service and the operation of a failed call, or "", "".
func operationOf(err error) (service, operation string) {
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		return op.Service(), op.Operation()
	}
	return "", ""
}

// Code is the error code that AWS answered, or "" where the call failed in
// another way.
func Code(err error) string {
	a, _ := answerOf(err)
	return a.code
}

// Status is the HTTP status of a failed call's answer, or 0 where there was none.
func Status(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}

// Header is a header of a failed call's answer.
func Header(err error, name string) string {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || response.Response == nil || response.Response.Response == nil {
		return ""
	}
	return response.Response.Header.Get(name)
}
