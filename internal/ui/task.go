package ui

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Task is the progress of one thing, a line on the screen. It is safe for
// concurrent use.
type Task struct {
	console *Console
	name    string
	total   int64 // bytes
	started time.Time

	mu     sync.Mutex
	stage  string
	passed int64  // bytes
	files  int64  // names of a tree
	at     string // the last of them
	meter  meter
}

// Stage says what is done now: "waiting for the volume".
func (t *Task) Stage(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stage = Visible(name)
}

// Add says that so many more bytes are through.
func (t *Task) Add(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.passed == 0 { // the clock of the rate starts with the first byte
		t.meter.observe(time.Now(), 0)
	}
	t.passed += bytes
}

// Total says how much there is to be done in all, in bytes.
func (t *Task) Total(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total = bytes
}

// Files says that so many more names of a tree are through, the last of them at.
func (t *Task) Files(more int64, at string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files += more
	t.at = Visible(at)
}

// Done takes the line away.
func (t *Task) Done() { t.console.done(t) }

// status is a task at one moment.
type status struct {
	name, stage   string
	passed, total int64 // bytes
	files         int64
	at            string // only where every call is logged, too
	rate          float64
}

func (t *Task) status(now time.Time) status {
	t.mu.Lock()
	defer t.mu.Unlock()
	rate := 0.0
	if t.passed > 0 { // waiting for a volume is no slow transfer
		rate = t.meter.observe(now, t.passed)
	}
	s := status{name: t.name, stage: t.stage, passed: t.passed, total: t.total, files: t.files, rate: rate}
	if t.console.options.Level.Level() <= slog.LevelDebug {
		s.at = t.at
	}
	return s
}

func (t *Task) filler() mpb.BarFiller {
	return mpb.BarFillerFunc(func(w io.Writer, stat decor.Statistics) error {
		_, err := io.WriteString(w, t.status(time.Now()).line(stat.AvailableWidth))
		return err
	})
}

// line draws the status within a width in columns. A narrow terminal loses the
// bar first, then the end of the line.
func (s status) line(width int) string {
	head := fmt.Sprintf("%s  %-14s", s.name, s.stage)
	if s.total <= 0 || s.passed == 0 {
		return cut(strings.TrimRight(head, " "), width)
	}
	tail := fmt.Sprintf("%3d%%  %s of %s", s.percent(), Bytes(s.passed), Bytes(s.total))
	if s.rate >= 1 {
		tail += "  " + Bytes(int64(s.rate)) + "/s"
	}
	if rest := left(s.passed, s.total, s.rate); rest > 0 {
		tail += "  " + Duration(rest) + " left"
	}
	if s.files > 0 {
		tail += fmt.Sprintf("  %d names", s.files)
	}
	if s.at != "" {
		tail += "  ./" + s.at
	}
	// "  [", "]  " and one column of air. The usual tail is allowed for, so that
	// the bar does not change its size with every number.
	room := min(30, width-len([]rune(head))-max(len(tail), 51)-6)
	if room < 8 {
		return cut(head+"  "+tail, width)
	}
	full := room * s.percent() / 100
	return head + "  [" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "]  " + tail
}

// percent is rounded down, so that 100 means all.
func (s status) percent() int {
	if s.total <= 0 {
		return 0
	}
	return int(min(100, 100*(float64(s.passed)/float64(s.total))))
}

func cut(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return s
}

func (t *Task) logLine(log *slog.Logger, now time.Time) {
	s := t.status(now)
	attrs := []any{"snapshot", s.name, "stage", s.stage}
	if s.passed > 0 {
		attrs = append(attrs, "bytes", s.passed)
		if s.total > 0 {
			attrs = append(attrs, "total_bytes", s.total, "percent", s.percent())
		}
		attrs = append(attrs, "bytes_per_second", int64(s.rate))
		if rest := left(s.passed, s.total, s.rate); rest > 0 {
			attrs = append(attrs, "left", rest)
		}
	}
	if s.files > 0 {
		attrs = append(attrs, "entries", s.files)
	}
	if s.at != "" {
		attrs = append(attrs, "path", s.at)
	}
	log.Info("progress", append(attrs, "elapsed", now.Sub(t.started))...)
}

func sortByStart(tasks []*Task) {
	slices.SortFunc(tasks, func(a, b *Task) int {
		if c := a.started.Compare(b.started); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
}
