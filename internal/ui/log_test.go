package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTextHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(NewHandler(&out, FormatText, slog.LevelInfo))

	log.Info("volume attached", "device", "/dev/sdf", "bytes", int64(3<<30), "elapsed", 65*time.Second)
	log.With("snapshot", "snap-0123").Warn("no room for a tag", "key", "two words", "empty", "")
	log.With("snapshot", "snap-0123").WithGroup("s3").With("part", 7).Info("sent", slog.Group("sum", "crc", "a=b"))
	log.Error("give the tag back", "err", errors.New("access denied:\n\x1b[2Jno"), "snapshot", "snap-9")
	log.Debug("not shown")
	log.Info("new\nline", "at", time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), "plain_bytes", int64(5))

	want := `volume attached device=/dev/sdf bytes=3GiB elapsed=1m05s
[snap-0123] warning: no room for a tag key="two words" empty=""
[snap-0123] sent s3.part=7 s3.sum.crc="a=b"
[snap-9] error: give the tag back err="access denied:\n\x1b[2Jno"
new\nline at=2026-01-02T02:04:05Z plain_bytes=5B
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestTextHandlerDebugLevelCanBeTurnedOn(t *testing.T) {
	var out bytes.Buffer
	slog.New(NewHandler(&out, FormatText, slog.LevelDebug)).Debug("aws call", "action", "CreateVolume")
	if got, want := out.String(), "debug: aws call action=CreateVolume\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONHandlerNamesItsUnits(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(NewHandler(&out, FormatJSON, slog.LevelInfo))
	log.With("snapshot", "snap-0123").Info("done", "elapsed", 1500*time.Millisecond, "bytes", int64(3<<30))

	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	delete(got, "time")
	want := map[string]any{"level": "INFO", "msg": "done", "snapshot": "snap-0123", "elapsed_seconds": 1.5, "bytes": float64(3 << 30)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

// A record must be one Write: what writes to the terminal beside the log keeps
// lines whole by that.
func TestTextHandlerWritesWholeLines(t *testing.T) {
	lines := &lineWriter{t: t}
	log := slog.New(NewHandler(lines, FormatText, slog.LevelInfo))
	var wg sync.WaitGroup
	for _, id := range []string{"snap-a", "snap-b", "snap-c"} {
		wg.Go(func() {
			for range 100 {
				log.With("snapshot", id).Info("a line", "key", "value")
			}
		})
	}
	wg.Wait()
	if lines.n != 300 {
		t.Errorf("%d lines, want 300", lines.n)
	}
}

type lineWriter struct {
	t *testing.T
	n int
}

func (w *lineWriter) Write(p []byte) (int, error) {
	if strings.Count(string(p), "\n") != 1 || !strings.HasSuffix(string(p), "\n") {
		w.t.Errorf("a Write of %q", p)
	}
	w.n++
	return len(p), nil
}

func FuzzTextHandler(f *testing.F) {
	f.Add("message", "key", "value")
	f.Add("m\n", "snapshot", "\x1b\xff")
	f.Fuzz(func(t *testing.T, msg, key, value string) {
		w := &lineWriter{t: t}
		slog.New(NewHandler(io.MultiWriter(w), FormatText, slog.LevelInfo)).Info(msg, key, value)
		if w.n != 1 {
			t.Errorf("%d lines for one record", w.n)
		}
	})
}
