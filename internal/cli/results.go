package cli

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"snap-to-s3/internal/hint"
)

// results is standard output, which may fail while the work goes on: who writes is
// told once, what follows is dropped, since it would stand behind a line that was cut,
// and the run says so at its end. It is safe for concurrent use.
type results struct {
	to io.Writer

	mu   sync.Mutex
	over bool  // nothing more is written
	err  error // why; nil where the reader has closed it: he has enough, as head has
}

func (r *results) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return len(p), nil
	}
	n, err := r.to.Write(p)
	if err == nil {
		return n, nil
	}
	r.over = true
	if errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	r.err = err
	return n, err
}

// lost says that results are missing from standard output, or nil.
func (r *results) lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return nil
	}
	return hint.Wrap(fmt.Errorf("results could not be written: %w", r.err),
		"nothing else is lost: what was done stays done; give standard output a place with room, and run the command again")
}
