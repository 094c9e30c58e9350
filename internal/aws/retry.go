package aws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// How long a failing service is put up with. Eight attempts with doubling,
// jittered waits are about 45 seconds, 90 at most. AWS_MAX_ATTEMPTS changes it.
const maxAttempts = 8

// The budget of all retries of a run. One call gives up by itself after
// maxAttempts; this ends a run of thousands of calls that all limp. Steadily
// one retry a second, and one for ten calls that go well, are always there.
const (
	budgetSize       = 1000
	budgetPerSecond  = 1.0
	budgetPerSuccess = 0.1
)

var errBudget = errors.New("the run's budget of retries is used up")

// retryer is the SDK's standard policy with our budget in place of its own,
// which is per client and too small: at a thousand requests a second a hundred
// throttled ones exhaust it.
type retryer struct {
	*retry.Standard
	budget budget
	count  atomic.Int64
	// again hears of each attempt that is to be followed by another one, and may forbid it.
	again func(ctx context.Context, cause error) error
}

func newRetryer(maxBackoff time.Duration, again func(context.Context, error) error) *retryer {
	codes := map[string]struct{}{
		// AWS's tables spell it so for EBS direct calls; the SDK knows only
		// RequestThrottledException (EBS user guide, "Error retries").
		"RequestThrottleException": {},
	}
	return &retryer{again: again, Standard: retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.MaxBackoff = maxBackoff
		o.Backoff = retry.NewExponentialJitterBackoff(maxBackoff)
		o.RateLimiter = ratelimit.None
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(hopeless)}, o.Retryables...)
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: codes}, retry.IsErrorRetryableFunc(passing))
		o.Throttles = append(o.Throttles, retry.ThrottleErrorCode{Codes: codes})
	}), budget: budget{tokens: budgetSize}}
}

// hopeless finds what the SDK would try again although it cannot get better:
// it takes every failure to connect for a passing one.
func hopeless(err error) awssdk.Ternary {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok || isCredentials(err) || isBadAddress(err) || isBadHeader(err) {
		return awssdk.FalseTernary
	}
	return awssdk.UnknownTernary
}

// passing finds what the SDK would not try again although it can get better: an
// answer that was cut off, which is like a connection that was, and EC2's word
// for a clock that is wrong. The SDK signs the next attempt by the server's time.
func passing(err error) awssdk.Ternary {
	if errors.Is(err, io.ErrUnexpectedEOF) || Code(err) == codeExpired && signedAtAnotherTime(err) {
		return awssdk.TrueTernary
	}
	return awssdk.UnknownTernary
}

// codeExpired is what EC2 answers to expired credentials, and to requests that
// are not of now (EC2 API reference, "Error codes").
const codeExpired = "RequestExpired"

// clockTolerance is less than AWS's 15 minutes, and more than an answer takes.
const clockTolerance = 4 * time.Minute

// signedAtAnotherTime tells whether the time at which a failed call was signed is
// not that of its answer.
func signedAtAnotherTime(err error) bool {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || response.Response == nil || response.Response.Response == nil || response.Response.Request == nil {
		return false
	}
	answered, err := http.ParseTime(response.Response.Header.Get("Date"))
	if err != nil {
		return false
	}
	signed, err := time.Parse("20060102T150405Z", response.Response.Request.Header.Get("X-Amz-Date"))
	return err == nil && answered.Sub(signed).Abs() > clockTolerance
}

// isCredentials tells whether err is about obtaining credentials, which has
// retries of its own. The SDK has no type for it.
func isCredentials(err error) bool {
	text := err.Error()
	return strings.Contains(text, "get identity: ") || strings.Contains(text, "failed to refresh cached credentials")
}

// GetAttemptToken lets every attempt pass and pays a little back for success.
func (r *retryer) GetAttemptToken(context.Context) (func(error) error, error) {
	return func(err error) error {
		if err == nil {
			r.budget.add(budgetPerSuccess)
		}
		return nil
	}, nil
}

// GetRetryToken takes a retry from the budget.
func (r *retryer) GetRetryToken(ctx context.Context, cause error) (func(error) error, error) {
	if err := r.again(ctx, cause); err != nil {
		return nil, err
	}
	if !r.budget.take(time.Now()) {
		return nil, fmt.Errorf("%w: %d so far", errBudget, r.count.Load())
	}
	r.count.Add(1)
	return func(error) error { return nil }, nil
}

// budget is a token bucket that fills with time and with success.
type budget struct {
	mu     sync.Mutex
	tokens float64
	filled time.Time
}

func (b *budget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.filled.IsZero() {
		b.tokens = min(budgetSize, b.tokens+budgetPerSecond*now.Sub(b.filled).Seconds())
	}
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (b *budget) add(tokens float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(budgetSize, b.tokens+tokens)
}

var _ awssdk.RetryerV2 = (*retryer)(nil)
