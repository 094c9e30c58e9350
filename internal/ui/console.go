package ui

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
)

// ConsoleOptions says what a Console writes to, and how.
type ConsoleOptions struct {
	Out, Err       io.Writer // results; log lines and progress
	OutTerm        bool      // Out is a terminal
	ErrTerm        bool      // Err is a terminal: bars instead of lines
	Format         Format    // of log lines; JSON means no bars either
	Level          slog.Leveler
	ReportInterval time.Duration // between progress lines where there are no bars; 0 means 30 s
}

// Console is what a command writes to: results, log lines and progress, none of
// which tears another. It is safe for concurrent use. Close it before the end of
// the process: it waits for what is on its way to the screen.
type Console struct {
	options ConsoleOptions
	log     *slog.Logger
	outMu   sync.Mutex // held while writing to Out

	mu    sync.Mutex // held while writing to Err, and for what follows
	bars  *mpb.Progress
	tasks map[*Task]*mpb.Bar // the tasks under way; nil bars without a terminal
	stop  chan struct{}      // ends the goroutine that writes progress lines
	ended sync.WaitGroup
}

// NewConsole returns a Console. Nothing runs in it before the first Task.
func NewConsole(o ConsoleOptions) *Console {
	if o.ReportInterval == 0 {
		o.ReportInterval = 30 * time.Second
	}
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	c := &Console{options: o, tasks: map[*Task]*mpb.Bar{}}
	c.log = slog.New(NewHandler(logWriter{c}, o.Format, o.Level))
	return c
}

// Log is the logger whose lines this Console shows.
func (c *Console) Log() *slog.Logger { return c.log }

// Results is standard output. Each Write should be whole lines.
func (c *Console) Results() io.Writer { return resultWriter{c} }

// Task opens the progress of one thing of total bytes; 0 where that is unknown.
func (c *Console) Task(name string, total int64) *Task {
	t := &Task{console: c, name: Visible(name), total: total, started: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	var bar *mpb.Bar
	if c.options.ErrTerm && c.options.Format != FormatJSON {
		bar = c.addBar(t)
	} else if c.stop == nil {
		stop := make(chan struct{}) // the goroutine may begin after Close has taken c.stop
		c.stop = stop
		c.ended.Go(func() { c.reportLines(stop) })
	}
	c.tasks[t] = bar
	return t
}

// addBar returns nil where the terminal is gone: the work goes on without.
func (c *Console) addBar(t *Task) *mpb.Bar {
	if c.bars == nil {
		// WithAutoRefresh: mpb looks for a terminal by itself otherwise, and
		// would draw nothing where Err wraps one.
		c.bars = mpb.New(mpb.WithOutput(c.options.Err), mpb.WithAutoRefresh())
	}
	bar, err := c.bars.Add(0, t.filler(), mpb.BarFillerTrim())
	if err != nil {
		return nil
	}
	return bar
}

func (c *Console) done(t *Task) {
	c.mu.Lock()
	bar := c.tasks[t]
	delete(c.tasks, t)
	c.mu.Unlock()
	if bar != nil {
		bar.Abort(true)
	}
}

// Close takes away all progress and waits until it is off the screen. Log and
// Results still work after it.
func (c *Console) Close() {
	c.mu.Lock()
	var open []*Task
	for t := range c.tasks {
		open = append(open, t)
	}
	bars, stop := c.bars, c.stop
	c.stop = nil
	c.mu.Unlock()

	for _, t := range open {
		t.Done()
	}
	if stop != nil {
		close(stop)
		c.ended.Wait()
	}
	if bars != nil {
		bars.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bars = nil
}

func (c *Console) reportLines(stop <-chan struct{}) {
	ticker := time.NewTicker(c.options.ReportInterval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		var open []*Task
		for t := range c.tasks {
			open = append(open, t)
		}
		c.mu.Unlock()
		sortByStart(open)
		for _, t := range open {
			t.logLine(c.log, time.Now())
		}
	}
}

// logWriter puts log lines above the bars.
type logWriter struct{ c *Console }

func (w logWriter) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.c.aboveBars(p, w.c.options.Err)
}

// aboveBars writes through the bars where there are some; to else where there
// are none, or their terminal is gone. The caller holds c.mu.
func (c *Console) aboveBars(p []byte, otherwise io.Writer) (int, error) {
	if c.bars != nil {
		if n, err := c.bars.Write(p); err == nil {
			return n, nil
		}
	}
	return otherwise.Write(p)
}

// resultWriter writes results; where they go to the terminal that shows the
// bars, above those.
type resultWriter struct{ c *Console }

func (w resultWriter) Write(p []byte) (int, error) {
	if w.c.options.OutTerm && w.c.options.ErrTerm {
		w.c.mu.Lock()
		defer w.c.mu.Unlock()
		return w.c.aboveBars(p, w.c.options.Out)
	}
	w.c.outMu.Lock()
	defer w.c.outMu.Unlock()
	return w.c.options.Out.Write(p)
}
