package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

// The environment that asks for all that is only sampled otherwise: "1" for all of
// it, "2/8" for the second of eight parts.
const soakEnv = "SNAP_TO_S3_SOAK"

func soaking() bool { return os.Getenv(soakEnv) != "" }

// soaked is the part of all that is asked for.
func soaked[T any](t *testing.T, all []T) []T {
	t.Helper()
	asked := os.Getenv(soakEnv)
	if !strings.Contains(asked, "/") {
		return all
	}
	var k, n int
	if _, err := fmt.Sscanf(asked, "%d/%d", &k, &n); err != nil || k < 1 || k > n {
		t.Fatalf("%s=%q is no part such as 2/8", soakEnv, asked)
	}
	var some []T
	for i := k - 1; i < len(all); i += n {
		some = append(some, all[i])
	}
	return some
}

// cell is one call and what goes wrong with it.
type cell struct {
	scenario scenario
	at       place
	mode     mode
	poor     bool // the next run has the predecessor's rights alone
}

func (c cell) String() string {
	name := c.scenario.name + " " + c.at.String() + " " + c.mode.name
	if c.poor {
		name += ", then the predecessor's rights"
	}
	return name
}

// sampled is how many cells are tried where not all of them are.
const sampled = 40

// Whatever goes wrong with whichever call of a migration: what it made is gone or
// named, and running the same command again finishes the job.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	faultMatrix(t, scenarios(t))
}

// faultMatrix tries all modes on all calls of the scenarios, or some of them.
func faultMatrix(t *testing.T, kinds []scenario) {
	t.Helper()
	var all []cell
	for _, s := range kinds {
		for _, at := range callsOf(t, s) {
			for _, m := range modes() {
				if !m.appliesTo(at) || m.slow && !soaking() {
					continue
				}
				all = append(all, cell{s, at, m, false})
				if m.kills && !s.unclaimed {
					all = append(all, cell{s, at, m, true})
				}
			}
		}
	}
	t.Logf("the whole matrix has %d cells", len(all))
	if !soaking() {
		r := rand.New(rand.NewPCG(4, 20))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:min(len(all), sampled)]
	}
	all = soaked(t, all)
	eachOf(t, all, func(t *testing.T, c cell) { c.check(t) })
}

// eachOf runs a subtest for each, several at a time: they mostly wait, so more of
// them than the machine has processors.
func eachOf[T fmt.Stringer](t *testing.T, all []T, test func(*testing.T, T)) {
	t.Helper()
	next := make(chan T)
	var wg sync.WaitGroup
	for range 3 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for one := range next {
				t.Run(one.String(), func(t *testing.T) { test(t, one) })
			}
		})
	}
	for _, one := range all {
		next <- one
	}
	close(next)
	wg.Wait()
}

func (c cell) check(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.leftovers = true // told apart below
	m := c.scenario.begin(t, w)
	w.nameless = c.at.call.Action == "CreateMultipartUpload"
	r := w.runFaulty(t, &injection{mode: c.mode, at: c.at}, c.scenario.args...)
	c.scenario.leavesNothingHere(w)
	switch {
	case c.mode.kills, r.code == exitFailed && c.neverBegan():
		w.accounted(t, m, nil)
	case r.code == exitDone && c.scenario.before != nil && w.sim.Tags(m.ID)["snap-to-s3"] == "migrating":
		// The claim of the killed run could not be given back: nothing is left to do.
		w.accounted(t, m, &r)
	case r.code == exitDone:
		m.isWhole(t)
		w.accounted(t, m, &r)
	case r.code == exitFailed:
		r.oneLineEach(t)
		w.accounted(t, m, &r)
		m.notDone(t, w, r)
	default:
		t.Errorf("exit code %d", r.code)
	}
	if !t.Failed() {
		w.rerun(t, c.scenario, m, c.poor)
	}
}

// neverBegan tells whether the call comes before a run looks at what others left.
func (c cell) neverBegan() bool {
	return c.at.call.Service == "imds" || strings.HasPrefix(c.at.call.Key, "snap-to-s3-probe/")
}

// rerun runs the same command again, which does what is left to do and takes away
// what the run before it left.
func (w *world) rerun(t *testing.T, s scenario, m migrated, poor bool) {
	t.Helper()
	if poor {
		w.sim.SetPolicy(predecessorsPolicy())
		r := w.ok(s.args...)
		m.isWhole(t)
		w.accounted(t, m, &r)
		w.sim.SetPolicy(nil)
	}
	w.ok(s.args...)
	m.isWhole(t)
	s.leavesNothing(w)
}

// moment is when a process is killed.
type moment struct {
	n        int
	scenario scenario
	after    time.Duration
	poor     bool
}

func (m moment) String() string { return fmt.Sprintf("%d %s", m.n, m.scenario.name) }

// Killed at any time, between calls, at work on a mount or a loop device: nothing
// stays on this machine, and the next run takes away what stays in the account.
func TestKilledThenRunAgain(t *testing.T) {
	t.Parallel()
	killedAtAnyTime(t, scenarios(t))
}

func killedAtAnyTime(t *testing.T, kinds []scenario) {
	t.Helper()
	rounds := 6
	if soaking() {
		rounds = 50
	}
	began := time.Now()
	for _, s := range kinds {
		callsOf(t, s)
	}
	longest := time.Since(began) / time.Duration(len(kinds))
	r := rand.New(rand.NewPCG(4, 50))
	var all []moment
	for i := range rounds {
		kind := kinds[len(kinds)-1-i%len(kinds)]
		all = append(all, moment{i, kind, time.Duration(r.Int64N(int64(longest))), i%5 == 0 && !kind.unclaimed})
	}
	eachOf(t, all, func(t *testing.T, k moment) {
		w := newWorld(t, awssim.Config{})
		w.leftovers, w.nameless = true, true
		m := k.scenario.begin(t, w)
		p := w.start(w.command(k.scenario.args...))
		timer := time.AfterFunc(k.after, func() { _ = p.cmd.Process.Kill() }) // it may have ended
		defer timer.Stop()
		p.killed()
		k.scenario.leavesNothingHere(w)
		w.accounted(t, m, nil)
		w.rerun(t, k.scenario, m, k.poor)
	})
}
