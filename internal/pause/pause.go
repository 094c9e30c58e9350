// Package pause waits, as long as somebody still wants it.
package pause

import (
	"context"
	"time"
)

// For waits for d. It returns early, with the cause of that, when ctx ends.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
