package cli

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"snap-to-s3/internal/awssim"
)

// The fault matrix takes its rows from the calls that a migration really makes.
// Such a call is named by what it does, and by how often that was done before.

// place is one call of a run.
type place struct {
	label string
	n     int // 1 is the first call with this label
	call  awssim.Call
}

func (p place) String() string { return fmt.Sprintf("%s #%d", p.label, p.n) }

// polled are the calls of which a run makes as many as it has to wait: not each
// is a row of its own.
func (p place) polled() bool {
	return p.call.Action == "DescribeVolumes" || p.call.Action == "DescribeSnapshots" || p.call.Action == "ListMultipartUploads" ||
		p.call.Service == "imds"
}

// labels makes names of calls that are the same in each run.
type labels struct {
	hide []labelRule
}

type labelRule struct {
	what *regexp.Regexp
	by   string
}

func newLabels() labels {
	return labels{[]labelRule{
		{regexp.MustCompile(`vol-[0-9a-f]{17}/\S+ snap-[0-9a-f]{17}( - nightly of web-1)?`), "KEY"},
		{regexp.MustCompile(`[a-z]-[0-9a-f]+/[^/ ]+/[^/ ]+/\d+/\S+`), "OWNER"},
		{regexp.MustCompile(`\b(snap|vol|i)-[0-9a-f]{17}\b`), "$1"},
		{regexp.MustCompile(`-id=\d+`), "-id=N"},
		{regexp.MustCompile(`/dev/sd[f-z]`), "DEVICE"},
		{regexp.MustCompile(`/`), ":"}, // which would part the name of a subtest
	}}
}

// of is the name of a call, by what is known of it before it is carried out.
func (l labels) of(c awssim.Call) string {
	what := c.Summary
	if c.Service == "s3" {
		what = c.Key
		if c.Part > 0 {
			what += fmt.Sprintf(" part %d", c.Part)
		}
	}
	for _, h := range l.hide {
		what = h.what.ReplaceAllString(what, h.by)
	}
	return c.Service + " " + c.Action + " " + what
}

// counter numbers the calls of each label.
type counter struct {
	labels

	mu   sync.Mutex
	seen map[string]int
}

func newCounter() *counter { return &counter{labels: newLabels(), seen: map[string]int{}} }

func (c *counter) place(call awssim.Call) place {
	label := c.of(call)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[label]++
	return place{label, c.seen[label], call}
}

// mostPolls is how many calls of a label are rows where there may be any number.
const mostPolls = 2

// callsOf runs a scenario without a fault, and returns the calls it made.
func callsOf(t *testing.T, s scenario) []place {
	t.Helper()
	w := newWorld(t, awssim.Config{})
	m := s.begin(t, w)
	count := newCounter()
	var mu sync.Mutex
	var all []place
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		p := count.place(c)
		mu.Lock()
		defer mu.Unlock()
		if !p.polled() || p.n <= mostPolls || p.call.Action == "DescribeSnapshots" && p.n <= 8 {
			all = append(all, p)
		}
		return awssim.Fault{}
	})
	w.ok(s.args...)
	w.sim.SetFault(nil)
	m.isWhole(t)
	s.leavesNothing(w)
	mu.Lock()
	defer mu.Unlock()
	slices.SortFunc(all, func(a, b place) int { return strings.Compare(a.String(), b.String()) })
	if len(all) < cmp.Or(s.fewest, 25) {
		t.Fatalf("only %d calls: the matrix would hold over nothing", len(all))
	}
	return all
}
