package workflow

import (
	"errors"
	"fmt"
	"sync"
)

// tracked remembers how far a task is, for the error of one that is cut short.
type tracked struct {
	Task
	over func() bool // the work has ended, and what comes now is the clean-up

	mu            sync.Mutex
	stage         string
	passed, total int64 // bytes
}

// Stage implements Task.
func (t *tracked) Stage(name string) {
	t.Task.Stage(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over() {
		t.stage = name
	}
}

// Total implements Task.
func (t *tracked) Total(bytes int64) {
	t.Task.Total(bytes)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total = bytes
}

// Add implements Task.
func (t *tracked) Add(bytes int64) {
	t.Task.Add(bytes)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passed += bytes
}

// cutShort is the error of work that ended because of cause: the claim was lost,
// the run interrupted, or its time is up. What failed then is mostly only an echo.
func (t *tracked) cutShort(err, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.stage
	if t.passed > 0 {
		at += fmt.Sprintf(", %d of %d bytes read", t.passed, max(t.passed, t.total))
	}
	switch {
	case errors.Is(err, cause) && at == "":
		return err
	case errors.Is(err, cause):
		return fmt.Errorf("%w, while %s", err, at)
	case at == "":
		return fmt.Errorf("%w (%s)", cause, oneLine(err))
	}
	return fmt.Errorf("%w, while %s (%s)", cause, at, oneLine(err))
}
