package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/workflow"
)

func TestExitCode(t *testing.T) {
	live := t.Context()
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(Interrupted{syscall.SIGTERM})
	ended, cancelEnded := context.WithCancel(t.Context())
	cancelEnded()

	failed := errors.New("it broke")
	claimed := fmt.Errorf("snapshot snap-1: %w", catalog.ErrClaimed)
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"done":                            {live, nil, 0},
		"done though interrupted":         {interrupted, nil, 0},
		"nothing to do":                   {live, fmt.Errorf("tag x: %w", workflow.ErrNothing), 0},
		"nothing to do, alone":            {live, errors.Join(workflow.ErrNothing, nil), 0},
		"nothing to do, and it broke":     {live, errors.Join(fmt.Errorf("tag x: %w", workflow.ErrNothing), failed), 1},
		"a claimed batch, and it broke":   {live, errors.Join(&workflow.BatchError{Failed: 1, Total: 2, Errs: []error{claimed}}, failed), 1},
		"failed":                          {live, failed, 1},
		"cancelled, but by no signal":     {ended, context.Canceled, 1},
		"too dear":                        {live, workflow.ErrTooDear, 1},
		"usage":                           {live, usagef("", "wrong"), 2},
		"usage, wrapped":                  {live, hint.Wrap(fmt.Errorf("a: %w", usagef("b", "c")), "d"), 2},
		"usage before interrupted":        {interrupted, usagef("", "wrong"), 2},
		"claimed":                         {live, claimed, 4},
		"claim lost":                      {live, fmt.Errorf("renew: %w", catalog.ErrLost), 4},
		"all claimed":                     {live, errors.Join(claimed, catalog.ErrLost), 4},
		"claimed, and another broke":      {live, errors.Join(claimed, failed), 1},
		"claimed for two reasons":         {live, fmt.Errorf("%w: %w", catalog.ErrClaimed, failed), 4},
		"a batch that was claimed":        {live, &workflow.BatchError{Failed: 1, Total: 2, Errs: []error{claimed}}, 4},
		"a batch where one broke":         {live, &workflow.BatchError{Failed: 2, Total: 2, Errs: []error{claimed, failed}}, 1},
		"a batch that only left things":   {live, &workflow.BatchError{Left: 1, Total: 2}, 1},
		"interrupted":                     {interrupted, failed, 130},
		"interrupted while claimed":       {interrupted, claimed, 130},
		"a command in the sandbox failed": {live, &childError{"x", 7}, 7},
		"a command was killed":            {live, &childError{"x", -1}, 1},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", name, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	lost := hint.Wrap(errors.New("attach vol-1 to snap-1\n\x1b[31m: denied"), "aws ec2 detach-volume\a --volume-id vol-1")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"none":     {nil, ""},
		"one":      {errors.New("it broke"), "snap-to-s3: it broke\n"},
		"hinted":   {lost, "snap-to-s3: attach vol-1 to snap-1\\n\\x1b[31m: denied\nhint: aws ec2 detach-volume\\a --volume-id vol-1\n"},
		"in one":   {inOneLine{errors.Join(errors.New("a"), errors.New("b"))}, "snap-to-s3: a; b\n"},
		"several":  {errors.Join(lost, errors.New("b")), "snap-to-s3: attach vol-1 to snap-1\\n\\x1b[31m: denied\nhint: aws ec2 detach-volume\\a --volume-id vol-1\nsnap-to-s3: b\n"},
		"of a run": {&workflow.BatchError{Failed: 1, Total: 3, Errs: []error{lost}}, "snap-to-s3: 1 of 3 snapshots failed\n"},
		"of one":   {&workflow.BatchError{Failed: 1, Total: 1, Errs: []error{lost}}, "snap-to-s3: 1 of 1 snapshot failed\n"},
		"stays":    {&workflow.BatchError{Left: 1, Total: 1}, "snap-to-s3: 1 thing could not be removed; each is named above\n"},
	} {
		var out bytes.Buffer
		explain(&out, c.err)
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
