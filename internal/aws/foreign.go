package aws

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const hintForeign = "something between this machine and AWS may answer in its place: check --endpoint-url, the AWS_ENDPOINT_URL variables and HTTPS_PROXY, then run the command again"

// rootWithin is how far into an answer its first element begins, at most.
const rootWithin = 1 << 10

// rootOf is the element that the answer to a call is: of every call of EC2, and of
// S3's lists.
func rootOf(service, operation string) string {
	switch {
	case service == "EC2":
		return operation + "Response"
	case service == "S3" && operation == "ListObjectsV2":
		return "ListBucketResult" // the one that has a name of its own
	case service == "S3" && strings.HasPrefix(operation, "List"):
		return operation + "Result"
	}
	return ""
}

// isItsAnswer refuses an answer with status 200 that is another document than that
// of its call. To the SDK a page of a proxy, or nothing at all, is an empty list,
// and an empty list says that there is nothing to do.
func (s *Session) isItsAnswer(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || response.StatusCode < 200 || response.StatusCode > 299 {
		return out, metadata, err
	}
	root := rootOf(awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx))
	if root == "" {
		return out, metadata, nil
	}
	body := bufio.NewReaderSize(response.Body, rootWithin)
	response.Body = struct {
		io.Reader
		io.Closer
	}{body, response.Body}
	head, err := body.Peek(rootWithin)
	if err != nil && !errors.Is(err, io.EOF) {
		return out, metadata, err
	}
	if !bytes.Contains(head, []byte("<"+root)) {
		return out, metadata, &smithy.DeserializationError{Err: errors.New("it does not begin with <" + root + ">")}
	}
	return out, metadata, nil
}

// explainForeign is about answers that are not AWS's, or are damaged.
func explainForeign(err error) (why, next string) {
	_, decoding := errors.AsType[*smithy.DeserializationError](err)
	_, syntax := errors.AsType[*xml.SyntaxError](err)
	status := Status(err)
	if !decoding && !syntax || status == 0 && !decoding {
		return "", ""
	}
	if status >= 500 {
		return fmt.Sprintf("HTTP %d with an answer that is not AWS's", status), hintService
	}
	detail := []rune(brief(err))
	if len(detail) > 120 {
		detail = append(detail[:120], '…')
	}
	return fmt.Sprintf("the answer is not one of AWS's (HTTP %d): %s", status, string(detail)), hintForeign
}

// explainRequest is about calls that cannot be sent as they are.
func explainRequest(err error) (why, next string) {
	text := err.Error()
	switch {
	case isBadAddress(err):
		address := "its endpoint"
		if u, ok := errors.AsType[*url.Error](err); ok {
			address = redact(u.URL)
		}
		return "nothing can be sent to " + address + ": not a http or https address",
			"write it as https://host:port in --endpoint-url, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL_S3 or the profile"
	case isBadHeader(err):
		return "the credentials have characters that cannot be sent, such as a line break", hintCredentials
	case strings.Contains(text, "invalid input region"):
		return brief(err), hintRegion
	}
	return "", ""
}

const hintRegion = "name a region as us-east-1: --region, AWS_REGION, or region in the profile"

// regionForm is what the SDK can make a host name of.
var regionForm = regexp.MustCompile(`^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$`)

// IsRegion tells whether a text can be the name of a region.
func IsRegion(text string) bool { return len(text) <= 63 && regionForm.MatchString(text) }

// isBadAddress: net/http has no type for it.
func isBadAddress(err error) bool {
	u, ok := errors.AsType[*url.Error](err)
	return ok && u.Err != nil && (strings.Contains(u.Err.Error(), "unsupported protocol scheme") || strings.Contains(u.Err.Error(), "no Host in request URL"))
}

// isBadHeader: likewise.
func isBadHeader(err error) bool { return strings.Contains(err.Error(), "invalid header field value") }
