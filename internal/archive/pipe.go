package archive

import (
	"context"
	"errors"
	"iter"
	"sync"
)

// ErrUnread is that nobody reads what a Pipe hands over any more, or that it
// was closed: what finds them may as well end.
var ErrUnread = errors.New("nobody reads this any more")

// Pipe hands rows, or runs of blocks, from the goroutine that finds them to the one that compares
// them: in order, and no more than its depth ahead. It starts no goroutine.
//
// The one that finds must end with Close. Either side that waits for the other is
// let go by its ctx; the finding side is let go, too, when the loop over All has
// ended. A loop that never began lets nobody go: cancel the ctx of Put then.
type Pipe[T any] struct {
	rows   chan T
	closed chan struct{} // by the one that finds; err is set before
	unread chan struct{} // by the one that reads

	closing, leaving sync.Once
	err              error
}

// NewPipe returns a pipe that holds up to depth rows.
func NewPipe[T any](depth int) *Pipe[T] {
	return &Pipe[T]{rows: make(chan T, depth), closed: make(chan struct{}), unread: make(chan struct{})}
}

// Put hands r over, and waits for room. From then on r is the reader's. It
// returns ErrUnread where nobody will read it, and the cause of ctx's end.
func (p *Pipe[T]) Put(ctx context.Context, r T) error {
	select { // apart from those below: of several that are ready one is picked at random
	case <-p.unread:
		return ErrUnread
	case <-p.closed:
		return ErrUnread
	default:
	}
	select {
	case p.rows <- r:
		return nil
	case <-p.unread:
		return ErrUnread
	case <-p.closed:
		return ErrUnread
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close says that no more rows come. The reader gets those that were put, and
// then err, if it is not nil. Only the first call counts.
func (p *Pipe[T]) Close(err error) {
	p.closing.Do(func() {
		p.err = err
		close(p.closed)
	})
}

// All yields the rows as they come, until Close; then Close's error or that of
// ctx, if there is one. It is for one loop: a second one gets ErrUnread.
func (p *Pipe[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		select {
		case <-p.unread:
			var none T
			yield(none, ErrUnread)
			return
		default:
		}
		defer p.leaving.Do(func() { close(p.unread) })
		for {
			r, ok, err := p.take(ctx)
			if !ok && err == nil {
				return
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// take returns the next row; neither row nor error is the end.
func (p *Pipe[T]) take(ctx context.Context) (r T, ok bool, err error) {
	select {
	case r := <-p.rows:
		return r, true, nil
	case <-ctx.Done():
		return r, false, context.Cause(ctx)
	case <-p.closed:
	}
	select {
	case r := <-p.rows:
		return r, true, nil
	default:
		return r, false, p.err
	}
}
