package cli

// What a person sees, in every command:
//
//   - Results go to standard output, everything else to standard error: log
//     lines, progress, errors. Nothing is ever asked: there may be no terminal.
//   - An error is one line, "snap-to-s3: <what was done to what>: <why>", lower
//     case and without a dot at the end. What to do next, where we know it, is a
//     second line, "hint: <do this>".
//   - Several errors are several such lines; with --log-format json they are log
//     lines. Names and texts from outside are shown with their control characters
//     made visible.
//   - The exit code says what kind of end it was; the table is in every help text.
//     Nothing below this package exits, prints or prompts.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// inOneLine is an error that may be several joined, told in one line.
type inOneLine struct{ error }

func (e inOneLine) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }

func (e inOneLine) Unwrap() error { return e.error }

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
	_, stopped := errors.AsType[Interrupted](context.Cause(ctx))
	if batch, ok := errors.AsType[*workflow.BatchError](err); stopped || claimed(err) || ok && batch.Outcome != "" { // a dry run's
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
	if next := lastStep(err); next != "" {
		text += "hint: " + ui.Visible(next) + "\n"
	}
	// If standard error is gone there is nobody left to tell; the exit code stays.
	_, _ = io.Copy(w, strings.NewReader(text))
}

// explainJSON is explain for who reads log lines by program.
func explainJSON(ctx context.Context, log *slog.Logger, err error) {
	switch several := joined(err); {
	case err == nil:
	case len(several) > 0:
		for _, e := range several {
			explainJSON(ctx, log, e)
		}
	default:
		if next := lastStep(err); next != "" {
			log = log.With("hint", next)
		}
		level := slog.LevelError
		if all(err, workflow.ErrNothing) {
			level = slog.LevelInfo
		}
		log.Log(ctx, level, "ended", "err", err.Error())
	}
}

// lastStep is the hint of an error at the end. The members of a batch were told one
// by one, each with its own.
func lastStep(err error) string {
	if _, batch := errors.AsType[*workflow.BatchError](err); batch {
		return ""
	}
	return hint.Of(err)
}

// logsAsJSON tells whether args ask for it. It is looked for here, since a command
// line that cannot be understood ends with an error too.
func logsAsJSON(args []string) bool {
	asked := false
	for i, arg := range args {
		switch form, bound := strings.CutPrefix(arg, "--log-format="); {
		case arg == "--":
			return asked
		case bound:
			asked = form == string(ui.FormatJSON)
		case arg == "--log-format" && i+1 < len(args):
			asked = args[i+1] == string(ui.FormatJSON)
		}
	}
	return asked
}
