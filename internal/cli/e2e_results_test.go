package cli

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
)

// runTo runs snap-to-s3 with its results going to f.
func (w *world) runTo(f io.Writer, args ...string) result {
	w.t.Helper()
	var said strings.Builder
	cmd := w.command(args...)
	cmd.Stdout, cmd.Stderr = f, &said
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		w.t.Fatal(err)
	}
	w.t.Logf("$ snap-to-s3 %s\n%s(exit %d)", strings.Join(args, " "), said.String(), cmd.ProcessState.ExitCode())
	return result{cmd.ProcessState.ExitCode(), "", said.String()}
}

// TestResultsThatCannotBeWritten: on a full disk the work goes on, one warning says
// so, and the run fails at its end. A reader who has enough is no failure.
func TestResultsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("there is no /dev/full: %v", err)
	}
	defer full.Close()
	reader, closed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, awssim.Config{})
	s := w.noisy(1<<20, awssim.SnapshotSpec{})
	t.Cleanup(w.freeHost)
	for _, c := range []struct {
		line     string
		warnings int
	}{
		{"--help", 0},
		{"migrate --help", 0},
		{"version", 0},
		{"migrate --dd --all --dry-run --bucket " + testBucket, 1},
		{"migrate --dd --bucket " + testBucket + " " + s.ID, 1},
		{"validate --output json --bucket " + testBucket + " " + s.ID, 1},
		{"verify --bucket " + testBucket + " " + s.ID, 1},
	} {
		args := strings.Fields(c.line)
		if r := w.runTo(closed, args...); r.code != exitDone || strings.Contains(r.stderr, "snap-to-s3: ") || strings.Contains(r.stderr, "warning: ") {
			t.Errorf("%s, to a closed pipe: exit code %d, want 0 and no complaint", c.line, r.code)
		}
		w.again(s)
		r := w.runTo(full, args...)
		if n := strings.Count(r.stderr, "warning: "); n != c.warnings {
			t.Errorf("%s, to a full disk: %d warnings, want %d", c.line, n, c.warnings)
		}
		if r.code != exitFailed || strings.Count(r.stderr, "no space left") != 1+c.warnings || !strings.Contains(r.stderr, "hint: ") {
			t.Errorf("%s, to a full disk: exit code %d, want %d and the reason", c.line, r.code, exitFailed)
		}
	}
	if r := w.runTo(full, "migrate", "--al"); r.code != exitUsage {
		t.Errorf("a wrong command line: exit code %d, want %d", r.code, exitUsage)
	}
}

// TestTheLastErrorAsALogLine: with --log-format json the error at the end is a log
// line too, with the hint beside it, also where the command line is wrong.
func TestTheLastErrorAsALogLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	for line, want := range map[string]string{
		"migrate --log-format json --all --bucket no-such-bucket": "no such bucket",
		"migrate --all --log-format=json --bucket":                "--bucket needs a value",
	} {
		r := w.run(strings.Fields(line)...)
		var last map[string]any
		for text := range strings.Lines(r.stderr) {
			if err := json.Unmarshal([]byte(text), &last); err != nil {
				t.Errorf("%s wrote %q", line, text)
			}
		}
		said, _ := last["err"].(string)
		if next, _ := last["hint"].(string); last["level"] != "ERROR" || next == "" || !strings.Contains(said, want) {
			t.Errorf("%s ended with %v", line, last)
		}
	}
}
