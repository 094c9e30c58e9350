package cli

// What a person sees, in every command:
//
//   - Results go to standard output, everything else to standard error: log
//     lines, progress, errors. Nothing is ever asked: there may be no terminal.
//   - An error is one line, "snap-to-s3: <what was done to what>: <why>", lower
//     case and without a dot at the end. What to do next, where we know it, is a
//     second line, "hint: <do this>".
//   - Several errors are several such lines. Names and texts from outside are
//     shown with their control characters made visible.
//   - The exit code says what kind of end it was; the table is in every help text.
//     Nothing below this package exits, prints or prompts.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/workflow"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDifferent   = 3
	exitClaimed     = 4
	exitInterrupted = 130
)

// usageError is a command line that cannot be carried out as it stands. Nothing
// was touched.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usagef makes a usage error with a next step; an empty next step means the help.
func usagef(next, format string, args ...any) error {
	return hint.Wrap(usageError{fmt.Errorf(format, args...)}, next)
}

// exitCode is the one place where an error becomes a number.
func exitCode(ctx context.Context, err error) int {
	if err == nil || all(err, workflow.ErrNothing) {
		return exitDone
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[Interrupted](context.Cause(ctx)); ok {
		return exitInterrupted
	}
	if child, ok := errors.AsType[*childError](err); ok && child.code > 0 {
		return child.code
	}
	if errors.Is(err, workflow.ErrDifferent) { // one of many is enough
		return exitDifferent
	}
	if claimed(err) {
		return exitClaimed
	}
	return exitFailed
}

// claimed says whether other runs are all that stood in the way: one failure of
// another kind among several makes the whole a failure.
func claimed(err error) bool {
	return all(err, catalog.ErrClaimed, catalog.ErrLost)
}

// all says whether err is one of kinds, and each of its members where it is
// several errors.
func all(err error, kinds ...error) bool {
	several := joined(err)
	if batch, ok := errors.AsType[*workflow.BatchError](err); ok && len(several) < 2 {
		several = batch.Errs
	}
	for _, e := range several {
		if !all(e, kinds...) {
			return false
		}
	}
	return len(several) > 0 || slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
}

// joined returns the members of an errors.Join, nil for anything else: other
// errors that wrap several have a text of their own.
func joined(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	if all := errors.Join(several.Unwrap()...); all == nil || err.Error() != all.Error() {
		return nil
	}
	return several.Unwrap()
}

// lookCloser is the next step where nothing better is known.
const lookCloser = "run the command again, which keeps what is stored; --verbose logs each call to AWS"

// withNextStep gives a failure of a migration that has no next step the general
// one. Whoever interrupts a run knows his.
func withNextStep(ctx context.Context, err error) error {
	if several := joined(err); len(several) > 0 {
		all := make([]error, len(several))
		for i, e := range several {
			all[i] = withNextStep(ctx, e)
		}
		return errors.Join(all...)
	}
	if _, stopped := errors.AsType[Interrupted](context.Cause(ctx)); stopped {
		return err
	}
	return hint.Wrap(err, lookCloser)
}

// explain writes err for a person.
func explain(w io.Writer, err error) {
	if err == nil {
		return
	}
	if several := joined(err); len(several) > 0 {
		for _, e := range several {
			explain(w, e)
		}
		return
	}
	// One Write: lines of the two streams of a terminal stay whole.
	text := "snap-to-s3: " + ui.Visible(err.Error()) + "\n"
	// The members of a batch were told one by one, each with its own hint.
	_, batch := errors.AsType[*workflow.BatchError](err)
	if next := hint.Of(err); next != "" && !batch {
		text += "hint: " + ui.Visible(next) + "\n"
	}
	// If standard error is gone there is nobody left to tell; the exit code stays.
	_, _ = io.Copy(w, strings.NewReader(text))
}
