package ebs

import (
	"context"
	"sync"
	"time"

	"snap-to-s3/internal/pause"
)

// pace lets calls pass at even distances, so that they do not run into a quota.
type pace struct {
	every time.Duration
	mu    sync.Mutex
	next  time.Time
}

// wait returns when the caller may go. Its error is why ctx has ended.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	if d <= 0 {
		return context.Cause(ctx)
	}
	return pause.For(ctx, d)
}
