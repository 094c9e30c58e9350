package aws

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// slowestDate is how long a call may take for its Date to count: S3 sends the
// header early and the answer late.
const slowestDate = 10 * time.Second

// observe adds to each call of each client: a debug line for the call, one for
// each attempt that failed, a warning for the first of these that is tried
// again, why a call was cancelled, and AWS's time from its answers.
func (s *Session) observe(stack *middleware.Stack) error {
	call := middleware.InitializeMiddlewareFunc("SnapToS3Call", s.observeCall)
	if err := stack.Initialize.Add(call, middleware.Before); err != nil {
		return err
	}
	attempt := middleware.DeserializeMiddlewareFunc("SnapToS3Attempt", s.observeAttempt)
	if err := stack.Deserialize.Add(attempt, middleware.Before); err != nil {
		return err
	}
	// Innermost: it sees the answer before it is decoded.
	root := middleware.DeserializeMiddlewareFunc("SnapToS3Root", s.isItsAnswer)
	return stack.Deserialize.Add(root, middleware.After)
}

func (s *Session) observeCall(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	middleware.InitializeOutput, middleware.Metadata, error,
) {
	start := time.Now()
	ctx = context.WithValue(ctx, callKey{}, &call{})
	out, metadata, err := next.HandleInitialize(ctx, in)
	err = ended(ctx, err)
	fields := append(callFields(ctx), slog.Duration("elapsed", time.Since(start)))
	if results, ok := retry.GetAttemptResults(metadata); ok {
		fields = append(fields, slog.Int("attempts", len(results.Results)))
	}
	if err != nil {
		fields = append(fields, slog.String("err", brief(err)))
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "aws call", fields...)
	return out, metadata, err
}

func (s *Session) observeAttempt(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	start := time.Now()
	if request, ok := in.Request.(*smithyhttp.Request); ok {
		callOf(ctx).attempt(request)
	}
	s.repeated(ctx)
	out, metadata, err := next.HandleDeserialize(ctx, in)
	now := time.Now()
	if date, ok := awsmiddleware.GetServerTime(metadata); ok && now.Sub(start) < slowestDate && s.tellsTime(ctx, out.RawResponse) {
		s.clock.observe(date, now)
	}
	if err != nil {
		fields := append(callFields(ctx), slog.Duration("elapsed", now.Sub(start)), slog.String("err", brief(err)))
		if request, ok := in.Request.(*smithyhttp.Request); ok {
			fields = append(fields, slog.String("attempt", request.Header.Get("Amz-Sdk-Request")))
		}
		s.log.LogAttrs(ctx, slog.LevelDebug, "aws attempt failed", fields...)
	}
	return out, metadata, err
}

// tellsTime leaves out what is not AWS's clock: another S3, the metadata
// service, and answers out of a cache.
func (s *Session) tellsTime(ctx context.Context, raw any) bool {
	response, ok := raw.(*smithyhttp.Response)
	if !ok || response.Header.Get("Age") != "" {
		return false
	}
	switch awsmiddleware.GetServiceID(ctx) {
	case "EC2", "EBS", "STS":
		return true
	case "S3":
		return IsAWSHost(response.Request.URL.Hostname())
	default:
		return false
	}
}

// IsAWSHost tells whether a host is one of AWS's own, public or through a VPC
// endpoint, of any partition.
func IsAWSHost(host string) bool {
	for _, domain := range []string{
		".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".c2s.ic.gov", ".sc2s.sgov.gov", ".amazonaws.eu",
	} {
		if strings.HasSuffix(strings.ToLower(host), domain) {
			return true
		}
	}
	return false
}

func callFields(ctx context.Context) []slog.Attr {
	return []slog.Attr{
		slog.String("service", awsmiddleware.GetServiceID(ctx)),
		slog.String("operation", awsmiddleware.GetOperationName(ctx)),
	}
}

// brief is an error for the log: what was answered, or the innermost reason,
// and never a signature or a token.
func brief(err error) string {
	if a, ok := answerOf(err); ok {
		return a.String()
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil || inner.Error() == "" {
			return redact(err.Error())
		}
		err = inner
	}
}
