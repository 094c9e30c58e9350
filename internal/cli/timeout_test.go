package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/workflow"
)

func TestParseTimeout(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "6h": 6 * time.Hour, "2d": 2 * day, "1d12h": 36 * time.Hour, "30s": 30 * time.Second,
		"1.5h": 90 * time.Minute, "1h30m": 90 * time.Minute, "3660d": maxTimeout, "250ms": 250 * time.Millisecond,
	} {
		if got, err := parseTimeout(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "d", "h", "90", "-1h", "+1h", "1d-1h", "1d+1h", "-2d", "2dd", "1h2d", "1w", "1.5d", "0", "0s", "0d", "0d0h", " 1h", "1h ",
		"65536d", "3661d", "3660d1ns", "99999999h", "９h", "1e3s", "NaNh", "0x10h", "1d1d", "\x00h",
	} {
		if got, err := parseTimeout(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func FuzzParseTimeout(f *testing.F) {
	for _, seed := range []string{"90m", "2d12h", "-1h", "3660d", "1d-1h", "99999999999h", "d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseTimeout(text)
		if err == nil && (got <= 0 || got > maxTimeout) {
			t.Errorf("%q is taken for %v", text, got)
		}
		if err != nil && got != 0 {
			t.Errorf("%q: %v with error %v", text, got, err)
		}
	})
}

// What is said of a limit can be typed again.
func TestSpokenTimeout(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		90 * time.Minute: "1h30m", 6 * time.Hour: "6h", time.Minute: "1m", 90 * time.Second: "1m30s", 10 * time.Hour: "10h",
		time.Hour + 10*time.Minute: "1h10m", 10 * time.Minute: "10m", 50 * time.Millisecond: "50ms", 48 * time.Hour: "48h",
	} {
		if got := spokenTimeout(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(maxTimeout)).Draw(t, "nanoseconds"))
		if got, err := parseTimeout(spokenTimeout(d)); err != nil || got != d {
			t.Errorf("%v is said as %q, which is %v, %v", d, spokenTimeout(d), got, err)
		}
	})
}

func TestTimedOut(t *testing.T) {
	t.Parallel()
	up := timeUp{2 * time.Hour}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(up)
	other := errors.New("close the state file: no")
	for _, c := range []struct {
		name string
		ctx  context.Context //nolint:containedctx // a case of the table
		sum  workflow.Summary
		err  error
		want string
	}{
		{"not up", t.Context(), workflow.Summary{}, other, other.Error()},
		{"all done by then", ended, workflow.Summary{}, nil, ""},
		{
			"half way", ended,
			workflow.Summary{Listed: 4, Migrated: 1, Kept: 1, Failed: 1, Plain: 3 << 20, Stored: 1 << 20},
			errors.Join(up),
			"the time of --timeout 2h is up: 2 of 4 snapshots done, 3 MiB in archives of 1 MiB; what was under way is given back, or named above",
		},
		{
			"of a validation", ended,
			workflow.Summary{Listed: 2, Validated: 1, Plain: 3 << 20, Stored: 1 << 20},
			errors.Join(up),
			"the time of --timeout 2h is up: 1 of 2 snapshots done, 3 MiB in archives of 1 MiB; what was under way is given back, or named above",
		},
		{
			"before the list", ended,
			workflow.Summary{},
			wrapped{"list snapshots:\n", up},
			"the time of --timeout 2h is up: nothing was begun (while: list snapshots: the time of --timeout 2h is up)",
		},
		{
			"and something else", ended,
			workflow.Summary{Listed: 1},
			errors.Join(up, other),
			"the time of --timeout 2h is up: 0 of 1 snapshot done, 0 B in archives of 0 B; what was under way is given back, or named above\n" + other.Error(),
		},
	} {
		got := timedOut(c.ctx, c.sum, c.err)
		text := ""
		if got != nil {
			text = got.Error()
		}
		if text != c.want {
			t.Errorf("%s: got %q, want %q", c.name, text, c.want)
		}
		if c.ctx == ended && got != nil && (!errors.Is(got, up) || !strings.Contains(hint.Of(got), "run the same command again")) {
			t.Errorf("%s: lost the cause or has no next step: %q", c.name, hint.Of(got))
		}
	}
}

// wrapped is an error with a text before it.
type wrapped struct {
	text string
	error
}

func (w wrapped) Error() string { return w.text + w.error.Error() }
func (w wrapped) Unwrap() error { return w.error }
