package ui

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMeter(t *testing.T) {
	var m meter
	start := time.Unix(0, 0)
	if got := m.observe(start, 0); got != 0 {
		t.Errorf("rate of one sample = %v, want 0", got)
	}
	for s := 1; s <= 100; s++ {
		got := m.observe(start.Add(time.Duration(s)*time.Second), int64(s)*1000)
		if got != 1000 {
			t.Fatalf("rate after %d s = %v, want 1000", s, got)
		}
	}
	if len(m.samples) > 40 {
		t.Errorf("%d samples kept", len(m.samples))
	}
	if got := m.observe(start.Add(140*time.Second), 100_000); got > 100 {
		t.Errorf("rate after a stall of 40 s = %v, want nearly 0", got)
	}
	if got, want := left(50, 100, 10), 5*time.Second; got != want {
		t.Errorf("left = %v, want %v", got, want)
	}
	for _, c := range [][3]int64{{100, 100, 10}, {0, 100, 0}, {101, 100, 10}} {
		if got := left(c[0], c[1], float64(c[2])); got != 0 {
			t.Errorf("left(%v) = %v, want 0", c, got)
		}
	}
}

func TestStatusLine(t *testing.T) {
	s := status{name: "snap-0123456789abcdef0", stage: "archive", passed: 42 << 30, total: 100 << 30, rate: 110 << 20}
	for width, want := range map[int]string{
		120: "snap-0123456789abcdef0  archive         [==========               ]   42%  42 GiB of 100 GiB  110 MiB/s  8m59s left",
		60:  "snap-0123456789abcdef0  archive          42%  42 GiB of 100 ",
		10:  "snap-01234",
		0:   "",
	} {
		if got := s.line(width); got != want {
			t.Errorf("line(%d) = %q (%d columns), want %q", width, got, len(got), want)
		}
	}
	if got, want := (status{name: "snap-1", stage: "attaching volume", total: 5}).line(80), "snap-1  attaching volume"; got != want {
		t.Errorf("line before the first byte = %q, want %q", got, want)
	}
	if got := (status{passed: 99, total: 100}).percent(); got != 99 {
		t.Errorf("percent = %d, want 99", got)
	}
}

func TestLinesWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		c := NewConsole(ConsoleOptions{Out: io.Discard, Err: &out})
		a, b := c.Task("snap-a", 4<<30), c.Task("snap-b", 0)
		a.Stage("archive")
		b.Stage("waiting for the volume")
		a.Add(1 << 30)
		time.Sleep(29 * time.Second)
		if out.String() != "" {
			t.Errorf("before the interval: %q", out.String())
		}
		time.Sleep(2 * time.Second)
		a.Add(1 << 30)
		b.Done()
		c.Log().Info("between")
		time.Sleep(30 * time.Second)
		c.Close()
		time.Sleep(time.Hour)

		want := `[snap-a] progress stage=archive bytes=1GiB total_bytes=4GiB percent=25 bytes_per_second=34.1MiB/s left=1m30s elapsed=30s
[snap-b] progress stage="waiting for the volume" elapsed=30s
between
[snap-a] progress stage=archive bytes=2GiB total_bytes=4GiB percent=50 bytes_per_second=34.1MiB/s left=1m00s elapsed=1m00s
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

func TestJSONMeansNoBars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		c := NewConsole(ConsoleOptions{Out: io.Discard, Err: &out, ErrTerm: true, Format: FormatJSON, ReportInterval: time.Second})
		task := c.Task("snap-a", 100)
		task.Add(50)
		time.Sleep(1500 * time.Millisecond)
		c.Close()
		if got := strings.Count(out.String(), "\n"); got != 1 || !strings.Contains(out.String(), `"percent":50`) {
			t.Errorf("got %q, want one JSON line", out.String())
		}
	})
}

// screen is a terminal as far as Console is concerned; it may vanish.
type screen struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	gone bool
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return 0, io.ErrClosedPipe
	}
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// Every log line and result must come out whole, in order, beside the bars.
func TestBarsDoNotTearLines(t *testing.T) {
	var scr screen
	c := NewConsole(ConsoleOptions{Out: &scr, Err: &scr, OutTerm: true, ErrTerm: true})
	var jobs sync.WaitGroup
	for j := range 4 {
		jobs.Go(func() {
			name := fmt.Sprintf("snap-%d", j)
			task := c.Task(name, 100)
			defer task.Done()
			task.Stage("archive")
			for i := range 100 {
				task.Add(1)
				c.Log().Info("step", "snapshot", name, "i", i)
				if _, err := fmt.Fprintf(c.Results(), "result %d %d\n", j, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	jobs.Wait()
	c.Close()
	c.Log().Info("after the end")

	got := scr.String()
	for j := range 4 {
		for _, form := range []string{`(?m)^\[snap-%d\] step i=(\d+)$`, `(?m)^result %d (\d+)$`} {
			found := regexp.MustCompile(fmt.Sprintf(form, j)).FindAllStringSubmatch(plain(got), -1)
			if len(found) != 100 {
				t.Fatalf("%d whole lines of %q, want 100, in %q", len(found), form, got)
			}
			for i, m := range found {
				if m[1] != fmt.Sprint(i) {
					t.Fatalf("line %d of %q is %v: out of order", i, form, m)
				}
			}
		}
	}
	if !strings.HasSuffix(got, "after the end\n") {
		t.Errorf("the last line is lost: %q", got[max(0, len(got)-200):])
	}
}

// plain takes the escape sequences out that move the cursor and clear lines.
func plain(s string) string {
	return regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`).ReplaceAllString(s, "")
}

// A terminal that goes away in the middle must not stop or hang the work.
func TestTheTerminalGoesAway(t *testing.T) {
	var scr screen
	var results bytes.Buffer
	c := NewConsole(ConsoleOptions{Out: &results, Err: &scr, ErrTerm: true})
	task := c.Task("snap-1", 100)
	task.Add(10)
	scr.mu.Lock()
	scr.gone = true
	scr.mu.Unlock()
	for i := range 20 {
		c.Log().Info("still here", "i", i)
		task.Add(1)
		other := c.Task("snap-2", 0)
		other.Stage("x")
		other.Done()
	}
	fmt.Fprintln(c.Results(), "result")
	c.Close()
	if got := results.String(); got != "result\n" {
		t.Errorf("results = %q", got)
	}
}

func TestCloseTakesAwayOpenTasks(t *testing.T) {
	var scr screen
	c := NewConsole(ConsoleOptions{Out: io.Discard, Err: &scr, ErrTerm: true})
	task := c.Task("snap-1", 100)
	c.Close() // a task that was never ended must not make this hang
	task.Add(1)
	task.Done()
	c.Close()
	c.Log().Info("end")
	if !strings.HasSuffix(scr.String(), "end\n") {
		t.Errorf("got %q", scr.String())
	}
}

// A run can be over before the goroutine that reports its progress has begun.
func TestCloseAtOnce(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 1000 {
			c := NewConsole(ConsoleOptions{Out: io.Discard, Err: io.Discard})
			c.Task("snap-1", 0)
			c.Close()
		}
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("Close hangs")
	}
}
