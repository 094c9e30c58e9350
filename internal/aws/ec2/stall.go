package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"snap-to-s3/internal/hint"
)

// errStalled: for too long no read of a volume was answered.
var errStalled = errors.New("volume gives nothing")

// watchdog ends reads when none has been answered for limit.
type watchdog struct {
	limit time.Duration
	made  time.Time    // a monotonic clock begins here: the time of day may jump
	last  atomic.Int64 // nanoseconds after made: the last answer to a read
}

func newWatchdog(limit time.Duration) *watchdog { return &watchdog{limit: limit, made: time.Now()} }

func (w *watchdog) now() time.Duration { return time.Since(w.made) }

func (w *watchdog) answered() { w.last.Store(int64(w.now())) }

// watch returns a context that ends with errStalled when limit has passed since
// it began and since the last answer to any read. The caller must call stop.
func (w *watchdog) watch(ctx context.Context) (bounded context.Context, stop func()) {
	bounded, cancel := context.WithCancelCause(ctx)
	var timer *time.Timer
	look := make(chan struct{}) // closed once timer is set
	timer = time.AfterFunc(w.limit, func() {
		<-look
		if silence := w.now() - time.Duration(w.last.Load()); silence < w.limit {
			timer.Reset(w.limit - silence)
			return
		}
		cancel(errStalled)
	})
	close(look)
	return bounded, func() {
		timer.Stop()
		cancel(nil)
	}
}

// ReadAt implements block.Source.
//
// It returns soon after ctx ends, whatever the device does: the read is done by a
// thread that is left behind then (block.File). It returns in the same way when
// no read of the volume was answered for Timing.ReadStall, since a device whose
// storage hangs gives neither data nor an error, for ever. That costs a context
// and a timer a read, a few microseconds, where EBS takes hundreds of them for a
// block.
func (t *volume) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	bounded, stop := t.reads.watch(ctx)
	defer stop()
	n, err := t.Source.ReadAt(bounded, p, off)
	if err == nil || err == io.EOF { //nolint:errorlint // the bare io.EOF is what the contract of ReadAt promises
		t.reads.answered()
		return n, err
	}
	if errors.Is(err, errStalled) && ctx.Err() == nil {
		return n, hint.Wrap(fmt.Errorf("volume %s gave no byte for %s", t.id, spoken(t.reads.limit)), t.statusHint())
	}
	if bounded.Err() == nil {
		t.reads.answered() // with an error
	}
	return n, fmt.Errorf("volume %s: %w", t.id, err)
}

// spoken is a duration as people say it, where it is whole minutes.
func spoken(d time.Duration) string {
	if d >= 2*time.Minute && d%time.Minute == 0 {
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return d.String()
}
