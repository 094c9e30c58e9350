package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Interrupted is the cause of a context that a signal cancelled.
type Interrupted struct{ Signal os.Signal }

func (i Interrupted) Error() string { return "interrupted by " + i.Signal.String() }

// WithSignals returns a context that SIGINT, SIGTERM or SIGHUP cancels, once,
// with the cause Interrupted. From then on they have their default effect
// again, so that a second one ends the process at once. SIGHUP is left alone
// where it was ignored from the start, as under nohup.
//
// SIGPIPE is taken and dropped: a reader of our output that goes away makes
// writes fail, and must not kill a run that has volumes and uploads open.
// (Taken, not ignored: an ignored signal would stay ignored in child processes.)
func WithSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)

	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(caught, syscall.SIGHUP)
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-caught:
			signal.Stop(caught)
			cancel(Interrupted{s})
		case <-over:
		}
	}()
	return ctx, func() {
		close(over)
		<-ended
		signal.Stop(caught)
		signal.Stop(pipe)
		cancel(nil)
	}
}
