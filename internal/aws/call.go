package aws

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// silentAttempts is how often a small call may meet a server that says nothing:
// with the stall time of such calls that is a minute and a half, not the four
// minutes of all attempts.
const silentAttempts = 3

// patientAttempts is the same for a call that is waited for longer than a large
// body: each of them is a quarter of an hour.
const patientAttempts = 2

// call is what is kept of one call across its attempts.
type call struct {
	max    atomic.Int64 // attempts it may have at most
	failed atomic.Int64 // attempts that are tried again
	silent atomic.Int64 // those of them that had no answer in the usual time
	last   atomic.Pointer[failure]
}

// failure is an attempt that is to be followed by another one.
type failure struct {
	at  time.Time
	err string
}

type callKey struct{}

// callOf is nil for calls that are not observed.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// attempt reads how many attempts there may be, as the SDK's retries tell it to
// the server ("attempt=1; max=8").
func (c *call) attempt(r *smithyhttp.Request) {
	if c == nil {
		return
	}
	_, after, _ := strings.Cut(r.Header.Get("Amz-Sdk-Request"), "max=")
	if n, err := strconv.ParseInt(after, 10, 64); err == nil {
		c.max.Store(n)
	}
}

// repeated writes a line for an attempt that follows a failed one: after what
// failure, and how long after it.
func (s *Session) repeated(ctx context.Context) {
	c := callOf(ctx)
	if c == nil {
		return
	}
	before := c.last.Swap(nil)
	if before == nil {
		return
	}
	fields := append(callFields(ctx), slog.Int64("attempt", c.failed.Load()+1), slog.Int64("max", c.max.Load()),
		slog.Duration("delay", time.Since(before.at)), slog.String("after", before.err))
	s.log.LogAttrs(ctx, slog.LevelDebug, "aws call is made again", fields...)
}

// again notes that a failed attempt is to be followed by another one. It is an
// error where that was tried often enough. The first is told to whoever watches:
// eight attempts at a server that hangs are minutes in which nothing else shows.
func (s *Session) again(ctx context.Context, cause error) error {
	c := callOf(ctx)
	if c == nil {
		return nil
	}
	most := max(0, c.max.Load()-1)
	if awsmiddleware.GetOperationName(ctx) == "CreateTags" && Code(cause) == codeExpired {
		// It was signed at another time, so a while ago: whatever told the caller then
		// that the tags are its to write has to be asked again.
		return &retry.MaxAttemptsError{Attempt: int(c.failed.Load()) + 1, Err: cause}
	}
	if stall, ok := errors.AsType[*StallError](cause); ok && (stall.After <= s.stall || stall.After > s.bodyStall) {
		allowed := int64(silentAttempts)
		if stall.After > s.bodyStall {
			allowed = patientAttempts
		}
		most = min(most, allowed-1)
		if n := c.silent.Add(1); n >= allowed {
			return &retry.MaxAttemptsError{Attempt: int(c.failed.Load()) + 1, Err: cause}
		}
	}
	c.last.Store(&failure{time.Now(), brief(cause)})
	if c.failed.Add(1) == 1 {
		why, _ := explain(cause)
		fields := append(callFields(ctx), slog.String("err", why), slog.Int64("up_to", most))
		s.log.LogAttrs(ctx, slog.LevelWarn, "aws call failed, it is tried again", fields...)
	}
	return nil
}

// endedError is a call that failed because its context had ended, and why that
// was. It is the context's own error to errors.Is as well.
type endedError struct {
	cause error
	err   error
}

func (e *endedError) Error() string   { return e.cause.Error() }
func (e *endedError) Unwrap() []error { return []error{e.cause, e.err} }

// ended adds to the error of a call why its context ended, where that is why it failed.
func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return &endedError{cause: cause, err: err}
}
