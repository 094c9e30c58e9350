package cli

import (
	"net/http"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

// mode is what goes wrong with a call: the columns of the matrix.
type mode struct {
	name  string
	times int // calls of the label, from the one that is meant on; 0: all of them
	fault func(awssim.Call) awssim.Fault
	kills bool // the process, when the call comes
	after bool // the process is killed once the call was carried out
	slow  bool // takes long: only in the whole matrix
	// bodies: it is about the body of an answer.
	bodies bool
}

func modes() []mode {
	always := func(f awssim.Fault) func(awssim.Call) awssim.Fault {
		return func(awssim.Call) awssim.Fault { return f }
	}
	stumble := &awssim.Error{Status: http.StatusInternalServerError, Code: "InternalError"}
	return []mode{
		{name: "refused for good", fault: func(c awssim.Call) awssim.Fault {
			code := map[string]string{"ec2": "UnauthorizedOperation", "s3": "AccessDenied"}[c.Service]
			return awssim.Fault{Before: &awssim.Error{Status: http.StatusForbidden, Code: code}}
		}},
		{name: "stumbles twice", times: 2, fault: always(awssim.Fault{Before: stumble})},
		{name: "fails after its effect", times: 1, fault: always(awssim.Fault{After: stumble})},
		{name: "answer lost", times: 1, fault: always(awssim.Fault{LoseAnswer: true})},
		{name: "20 answers lost", times: 20, fault: always(awssim.Fault{LoseAnswer: true})},
		{name: "hangs", times: 1, fault: always(awssim.Fault{Hang: true})},
		{name: "hangs after its effect", times: 1, fault: always(awssim.Fault{HangAfter: true})},
		{name: "hangs for good", fault: always(awssim.Fault{Hang: true}), slow: true},
		{name: "throttled 20 times", times: 20, fault: always(awssim.Fault{Throttle: true})},
		{name: "body cut", times: 3, fault: always(awssim.Fault{CutBody: 777}), bodies: true},
		{name: "body hangs", times: 1, fault: always(awssim.Fault{HangBody: 1}), bodies: true},
		{name: "body short", times: 2, fault: always(awssim.Fault{ShortRange: 4097}), bodies: true},
		{name: "bodies cut for good", fault: always(awssim.Fault{CutBody: 1}), bodies: true},
		{name: "killed before", times: 1, fault: always(awssim.Fault{Hang: true}), kills: true},
		{name: "killed after", times: 1, fault: always(awssim.Fault{HangAfter: true}), kills: true, after: true},
	}
}

// appliesTo leaves out what the metadata service has no answer for.
func (m mode) appliesTo(p place) bool {
	if m.bodies {
		return p.call.Action == "GetObject"
	}
	if p.call.Service != "imds" {
		return true
	}
	return m.name == "answer lost" || m.name == "hangs" || m.name == "killed before"
}

// injection is a mode at work on a run.
type injection struct {
	mode  mode
	at    place
	count *counter
	fired atomic.Int64
	begun chan struct{} // closed once cmd runs
	cmd   *exec.Cmd
	kill  sync.Once
}

// effectTime is how long a call may take to be carried out before the process is
// killed. If it takes longer, the cell is one of "killed before".
const effectTime = 100 * time.Millisecond

func (i *injection) hook(c awssim.Call) awssim.Fault {
	p := i.count.place(c)
	if p.label != i.at.label || p.n < i.at.n || i.mode.times > 0 && p.n >= i.at.n+i.mode.times {
		return awssim.Fault{}
	}
	i.fired.Add(1)
	if i.mode.kills {
		<-i.begun
		i.kill.Do(func() {
			if i.mode.after {
				time.AfterFunc(effectTime, i.end)
				return
			}
			i.end()
		})
	}
	return i.mode.fault(c)
}

// end kills the process. That it may have ended by itself is no error.
func (i *injection) end() { _ = i.cmd.Process.Kill() }

// runFaulty runs the program with a fault at one of its calls.
func (w *world) runFaulty(t *testing.T, i *injection, args ...string) result {
	t.Helper()
	i.count, i.begun, i.cmd = newCounter(), make(chan struct{}), w.command(args...)
	w.sim.SetFault(i.hook)
	p := w.start(i.cmd)
	close(i.begun)
	r := p.ends()
	w.sim.SetFault(nil)
	if i.fired.Load() == 0 && !i.at.polled() {
		t.Errorf("the run made no call %s", i.at)
	}
	return r
}
