package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// maxTimeout keeps sums of times within what a time can be; nobody waits longer.
const maxTimeout = 10 * 366 * 24 * time.Hour

// parseTimeout reads a duration as Go writes it, with days before it: 90m, 6h,
// 2d, 1d12h.
func parseTimeout(text string) (time.Duration, error) {
	wrong := errors.New("not a duration: a number and s, m, h or d")
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || rest == "" && !ok || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, wrong
	}
	sum := time.Duration(n) * 24 * time.Hour //nolint:gosec // 16 bits
	if rest != "" {
		more, err := time.ParseDuration(rest)
		if err != nil {
			return 0, wrong
		}
		sum += min(more, maxTimeout)
	}
	if sum <= 0 {
		return 0, errors.New("must be above 0")
	}
	if sum > maxTimeout {
		return 0, errors.New("must be at most 3660d")
	}
	return sum, nil
}

// timeUp is the cause of a context that --timeout ended.
type timeUp struct{ limit time.Duration }

// Error implements error.
func (t timeUp) Error() string { return "the time of --timeout " + spokenTimeout(t.limit) + " is up" }

// spokenTimeout is a duration as one types it: 1h30m, not 1h30m0s.
func spokenTimeout(d time.Duration) string {
	text := d.String()
	for _, zero := range []struct{ end, unit string }{{"m0s", "m"}, {"h0m", "h"}} {
		if strings.HasSuffix(text, zero.end) {
			text = strings.TrimSuffix(text, zero.end) + zero.unit
		}
	}
	return text
}

// withTimeout ends ctx in the way that a signal does: it is cancelled, with a
// cause of its own. A deadline would be taken for that of one call.
func withTimeout(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if limit == 0 {
		return ctx, func() { cancel(nil) }
	}
	timer := time.AfterFunc(limit, func() { cancel(timeUp{limit}) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// timedOut is what a run returns: err, or if the time was up, how far it was.
func timedOut(ctx context.Context, sum workflow.Summary, err error) error {
	up, ok := errors.AsType[timeUp](context.Cause(ctx))
	if !ok || err == nil {
		return err
	}
	several := joined(err)
	if several == nil {
		several = []error{err}
	}
	var while, others []error
	for _, e := range several {
		switch {
		case e.Error() == up.Error():
		case errors.Is(e, up):
			while = append(while, e)
		default:
			others = append(others, e)
		}
	}
	end := fmt.Errorf("%w: %s", up, howFar(sum))
	for _, e := range while {
		end = fmt.Errorf("%w (while: %s)", end, strings.Join(strings.Fields(e.Error()), " "))
	}
	end = hint.Wrap(end, "run the same command again: it keeps what is stored and does the rest; a longer --timeout or more --jobs gets further")
	return errors.Join(append([]error{end}, others...)...)
}

func howFar(s workflow.Summary) string {
	done := s.Migrated + s.Kept + s.Validated
	if s.Listed == 0 {
		return "nothing was begun"
	}
	// More may have been tagged after the list was made.
	return fmt.Sprintf("%d of %s done, %s in archives of %s; what was under way is given back, or named above",
		done, words.Count(max(done, s.Listed), "snapshot"), ui.Bytes(s.Plain), ui.Bytes(s.Stored))
}
