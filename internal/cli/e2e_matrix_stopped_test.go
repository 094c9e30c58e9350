package cli

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
)

// nap is a process that is stopped at one of its calls, and goes on when its claim
// is another's.
type nap struct {
	scenario scenario
	at       place
	lost     bool          // the call had no effect; else its answer waits for the process
	wakes    time.Duration // after its successor began; 0: when that has ended
}

func (n nap) String() string {
	name := n.scenario.name + " " + n.at.String()
	if n.lost {
		name += " lost"
	}
	if n.wakes > 0 {
		name += fmt.Sprint(" woken after ", n.wakes)
	}
	return name
}

// A process that sleeps past its claim, wherever it was stopped, and wakes when
// its successor is done or still at work, spoils nothing: in the end there is one
// whole set of objects.
func TestStoppedPastItsClaim(t *testing.T) {
	t.Parallel()
	stoppedPastItsClaim(t, scenarios(t), 8)
}

// stoppedPastItsClaim tries so many of the ways to be stopped, or all.
func stoppedPastItsClaim(t *testing.T, kinds []scenario, some int) {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 61))
	var all []nap
	for _, s := range kinds {
		if s.before != nil || s.unclaimed {
			continue
		}
		for _, at := range callsOf(t, s) {
			if at.polled() {
				continue // whether that call comes is not sure
			}
			for _, lost := range []bool{false, true} {
				all = append(all, nap{s, at, lost, 0}, nap{s, at, lost, time.Duration(1+r.IntN(2000)) * time.Millisecond})
			}
		}
	}
	t.Logf("there are %d ways to be stopped", len(all))
	if !soaking() {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:min(len(all), some)]
	}
	all = soaked(t, all)
	eachOf(t, all, func(t *testing.T, n nap) { n.check(t) })
}

func (n nap) check(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.leftovers, w.nameless = true, true
	m := n.scenario.add(w)
	host, err := w.sim.AddHost(otherHost)
	if err != nil {
		t.Fatal(err)
	}
	p := n.stop(w)
	defer p.gone()
	w.sim.SetFault(nil)
	w.sim.SetClock(func() time.Time { return time.Now().Add(catalog.Live + time.Minute) })

	args := append(n.scenario.args[:len(n.scenario.args)-1:len(n.scenario.args)-1], m.ID) // for --all
	cmd := w.command(args...)
	cmd.Env = append(append(cmd.Env, host.Env()...), "SNAP_TO_S3_STATE_DIR="+filepath.Join(w.dir, "state-there"))
	successor := w.start(cmd)
	if n.wakes == 0 {
		if r := successor.ends(); r.code != exitDone {
			t.Errorf("the successor ended with %d", r.code)
		}
		p.sends(syscall.SIGCONT)
		p.ends()
	} else {
		timer := time.AfterFunc(n.wakes, func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) })
		defer timer.Stop()
		successor.ends()
		p.ends()
	}
	w.accounted(t, m, nil)
	w.ok(n.scenario.args...)
	w.ok(args...)
	m.isWhole(t)
	n.scenario.leavesNothing(w)
}

// stop starts a run, and stops it at its call.
func (n nap) stop(w *world) *process {
	count, begun, there := newCounter(), make(chan struct{}), make(chan struct{})
	var p *process
	var once sync.Once
	w.sim.SetFault(func(c awssim.Call) (f awssim.Fault) {
		if at := count.place(c); at.label != n.at.label || at.n != n.at.n {
			return f
		}
		once.Do(func() {
			<-begun
			if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				w.t.Error(err)
			}
			f.CutBefore = n.lost
			close(there)
		})
		return f
	})
	p = w.start(w.command(n.scenario.args...))
	close(begun)
	w.reaches(there, p)
	return p
}
