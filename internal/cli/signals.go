package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Interrupted is the cause of a context that a signal cancelled.
type Interrupted struct{ Signal os.Signal }

func (i Interrupted) Error() string { return "interrupted by " + signalName(i.Signal) }

// signalName is what kill -l and the manuals call it: Go's own name for SIGTERM
// is "terminated".
func signalName(s os.Signal) string {
	switch s {
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGHUP:
		return "SIGHUP"
	}
	return s.String()
}

// WithSignals returns a context that SIGINT, SIGTERM or SIGHUP cancels, once,
// with the cause Interrupted. From then on SIGINT and SIGTERM have their default
// effect again, so that a second one ends the process at once. Further SIGHUPs
// are dropped: when a terminal goes away both the kernel and the shell send one,
// and nobody is there who could have meant the second. SIGHUP is left alone
// where it was ignored from the start, as under nohup.
//
// SIGPIPE is taken and dropped: a reader of our output that goes away makes
// writes fail, and must not kill a run that has volumes and uploads open.
// (Taken, not ignored: an ignored signal would stay ignored in child processes.)
func WithSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	dropped := make(chan os.Signal, 1) // nobody reads it: what does not fit is lost
	signal.Notify(dropped, syscall.SIGPIPE)

	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(caught, syscall.SIGHUP)
		signal.Notify(dropped, syscall.SIGHUP)
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
		signal.Stop(dropped)
		cancel(nil)
	}
}

// interruptedText is what a person sees of the first Ctrl-C while the clean-up,
// which can take minutes, goes on.
const timeUpText = "the time is up: giving back volume, upload and tag; press Ctrl-C twice to stop at once and leave them behind"

const interruptedText = "interrupted: giving back volume, upload and tag; press Ctrl-C again to stop at once and leave them behind"

// sayInterrupted writes interruptedText as soon as a signal has ended ctx, and
// the like when the time is up. The
// function that it returns ends the watch and waits for it.
func sayInterrupted(ctx context.Context, log *slog.Logger) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if _, ok := errors.AsType[Interrupted](cause); ok {
				log.Info(interruptedText)
			}
			if up, ok := errors.AsType[timeUp](cause); ok {
				log.Info(timeUpText, "timeout", spokenTimeout(up.limit))
			}
		case <-over:
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}
