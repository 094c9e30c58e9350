package aws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"snap-to-s3/internal/hint"
)

// explained has one line for a person in place of the SDK's text, and still is
// the SDK's error to errors.Is and errors.As.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// Explain turns what the SDK returned into one line that says what was being
// done, to what, and why it failed, with a hint at the next step. The cause stays
// reachable by errors.Is and errors.As. No credential gets into the text.
func Explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*explained](err); ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	why, next := explain(err)
	return hint.Wrap(&explained{text: doing + ": " + why, err: err}, next)
}

// ExplainWith is Explain for a caller who knows the next step better.
func ExplainWith(err error, doing, next string) error {
	why, _ := explain(err)
	return hint.Wrap(&explained{text: doing + ": " + why, err: err}, next)
}

const (
	hintExpired     = "get new credentials (a new session token, aws sso login, or an instance role, which renews itself) and run the command again"
	hintCredentials = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance a role; aws sts get-caller-identity shows who you are"
	hintClock       = "set this machine's clock: timedatectl, chronyc makestep"
	hintThrottled   = "fewer --jobs and --upload-streams ask less; other programs of this account share its quota"
	hintNetwork     = "check --region and --endpoint-url, HTTPS_PROXY, the route, the security groups and the VPC endpoint; then run the command again"
	hintService     = "the service may be in trouble: see health.aws.amazon.com, and run the command again later"
)

// explain says why, in half a line, and what to do next.
func explain(err error) (why, next string) {
	if e, ok := errors.AsType[*endedError](err); ok {
		return e.cause.Error(), hint.Of(e.cause)
	}
	if cancelled(err) {
		return "cancelled", ""
	}
	if errors.Is(err, errBudget) {
		return fmt.Sprintf("%v; the last failure was %s", errBudget, brief(withoutBudget(err))), hintService
	}
	if a, ok := answerOf(err); ok {
		return explainAnswer(err, a)
	}
	if why, next := explainRequest(err); why != "" {
		return why, next
	}
	if why, next := explainConnection(err); why != "" {
		return why + attempts(err), next
	}
	if why, next := explainForeign(err); why != "" {
		return why + attempts(err), next
	}
	if isCredentials(err) {
		return explainCredentials(err)
	}
	return brief(err) + attempts(err), ""
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled)
}

// withoutBudget is what failed before the budget was found empty.
func withoutBudget(err error) error {
	joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err)
	if !ok || len(joined.Unwrap()) == 0 {
		return err
	}
	return joined.Unwrap()[0]
}

func attempts(err error) string {
	if m, ok := errors.AsType[*retry.MaxAttemptsError](err); ok && m.Attempt > 1 {
		return fmt.Sprintf(", %d times in a row", m.Attempt)
	}
	return ""
}

// kind is what an error code means for a person.
type kind int

const (
	kindOther kind = iota
	kindExpired
	kindClock
	kindIdentity
	kindSignature
	kindDenied
)

// kindOf sorts codes as the EC2 API reference ("Error codes"), the S3 API
// reference ("Error responses") and the EBS user guide spell them.
func kindOf(code string) kind {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", codeExpired, "TokenRefreshRequired":
		return kindExpired
	case "RequestTimeTooSkewed", "RequestInTheFuture":
		return kindClock
	case "InvalidAccessKeyId", "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidToken", "NotSignedUp":
		return kindIdentity
	case "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature":
		return kindSignature
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "AccountProblem", "Forbidden":
		return kindDenied
	default:
		return kindOther
	}
}

func explainAnswer(err error, a answer) (why, next string) {
	kind := kindOf(a.code)
	if a.code == codeExpired && signedAtAnotherTime(err) {
		kind = kindClock
	}
	switch kind {
	case kindExpired:
		return "the AWS credentials have expired (" + a.code + ")", hintExpired
	case kindClock:
		return "this machine's clock is too far from AWS's (" + a.code + ")", hintClock
	case kindIdentity:
		return "AWS does not accept the credentials (" + a.code + ")", hintCredentials
	case kindSignature:
		return "AWS does not accept the signature (" + a.code + "): the secret key is not that of the access key, or a proxy changes requests", hintCredentials
	case kindDenied:
		return explainDenied(err, a)
	}
	switch {
	case isThrottle(err):
		return "AWS throttles" + attempts(err) + ": " + a.String(), hintThrottled
	case a.status >= 500:
		return a.String() + attempts(err), hintService
	default:
		return a.String() + attempts(err), ""
	}
}

func isThrottle(err error) bool {
	if Code(err) == "RequestThrottleException" {
		return true
	}
	return retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool()
}

var performedAction = regexp.MustCompile(`not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)`)

// explainDenied names the right that is missing: as AWS tells it, else by the call.
func explainDenied(err error, a answer) (why, next string) {
	action := actionOf(operationOf(err))
	told := performedAction.FindStringSubmatch(a.message)
	if told != nil {
		action = told[1]
	}
	why = "access denied"
	if action != "" {
		why += ", " + action + " is needed"
	}
	if told != nil {
		why += ": " + strings.TrimSuffix(a.message, ".")
	} else {
		why += " (" + a.code + ")"
	}
	if action == "" {
		return why, "ask for this right in the IAM policy of these credentials; aws sts get-caller-identity shows whose they are"
	}
	return why, "allow " + action + " in the IAM policy of these credentials (aws sts get-caller-identity shows whose they are);" +
		" a bucket or key policy, a permissions boundary or an organisation's policy may deny it too"
}

// actionOf is the IAM action of a call. S3's differ from the calls' names
// (S3 user guide, "Required permissions for Amazon S3 API operations").
func actionOf(service, operation string) string {
	switch service {
	case "EC2":
		return "ec2:" + operation
	case "EBS":
		return "ebs:" + operation
	case "S3":
		switch operation {
		case "HeadObject", "GetObject":
			return "s3:GetObject"
		case "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload":
			return "s3:PutObject"
		case "ListMultipartUploads":
			return "s3:ListBucketMultipartUploads"
		default:
			return "s3:" + operation
		}
	default:
		return ""
	}
}

// explainConnection is about calls that got no answer.
func explainConnection(err error) (why, next string) {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "there is no host " + e.Name, hintNetwork
		}
		return "the name " + e.Name + " cannot be resolved: " + e.Err, hintNetwork
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate is not trusted: " + e.Err.Error(),
			"AWS_CA_BUNDLE names a file with the certificates to trust; a proxy may be in between"
	}
	if e, ok := errors.AsType[*StallError](err); ok {
		return "the connection hangs: " + e.Error(), hintNetwork
	}
	operation, isNet := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the answer was cut off", hintNetwork
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "the connection was cut", hintNetwork
	case isNet && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %v: connection refused", operation.Addr), hintNetwork
	case isNet && operation.Timeout():
		return fmt.Sprintf("%v does not answer: time-out", operation.Addr), hintNetwork
	case isNet:
		return redact(operation.Error()), hintNetwork
	case errors.Is(err, context.DeadlineExceeded):
		return "not done in time", hintNetwork
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "no answer in time: " + brief(err), hintNetwork
	}
	return "", ""
}

// explainCredentials is about calls that were not made for want of credentials.
func explainCredentials(err error) (why, next string) {
	text := strings.ToLower(err.Error())
	switch {
	case strings.Contains(text, "sso") || strings.Contains(text, "expired"):
		return "the AWS credentials have expired: " + brief(err), hintExpired
	case strings.Contains(text, "no ec2 imds role found"):
		return "no AWS credentials were found: not in the environment, not in a profile, and this instance has no role", hintCredentials
	default:
		return "no AWS credentials: " + brief(err), hintCredentials
	}
}
