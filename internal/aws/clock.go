package aws

import (
	"sync/atomic"
	"time"
)

// clock knows how far AWS's time is from the local one.
type clock struct{ offset atomic.Int64 } // nanoseconds to add to the local clock

// A Date header is cut to whole seconds and some way old when it arrives, so
// smaller differences tell nothing.
const clockGrain = 1500 * time.Millisecond

// observe takes the Date of an answer that came at local.
func (c *clock) observe(date, local time.Time) {
	offset := date.Add(500 * time.Millisecond).Sub(local)
	if difference := offset - time.Duration(c.offset.Load()); difference.Abs() > clockGrain {
		c.offset.Store(int64(offset))
	}
}

func (c *clock) now(local time.Time) time.Time { return local.Add(time.Duration(c.offset.Load())) }

// Now is AWS's time: the local clock, corrected by the Date header of what AWS
// answered last. It is good to about two seconds; before the first answer it is
// the local time. Answers of a third-party S3 are not heeded.
func (s *Session) Now() time.Time { return s.clock.now(time.Now()) }
