package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/workflow"
)

// actions are all calls that a volume's life makes.
func actions() []string {
	return []string{
		"DescribeVolumes", "CreateVolume", "DescribeInstanceAttribute", "AttachVolume", "DetachVolume", "DeleteVolume",
	}
}

// kinds of faults; those that are passing must not be noticed when they come
// once or twice.
func kinds() []struct {
	name    string
	fault   awssim.Fault
	passing bool
} {
	refused := &awssim.Error{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}
	broken := &awssim.Error{Status: 500, Code: "InternalError", Message: "An internal error has occurred"}
	return []struct {
		name    string
		fault   awssim.Fault
		passing bool
	}{
		{"refused", awssim.Fault{Before: refused}, false},
		{"refused after its effect", awssim.Fault{After: refused}, false},
		{"failed", awssim.Fault{Before: broken}, true},
		{"failed after its effect", awssim.Fault{After: broken}, true},
		{"throttled", awssim.Fault{Throttle: true}, true},
		{"cut before", awssim.Fault{CutBefore: true}, true},
		{"answer lost", awssim.Fault{LoseAnswer: true}, true},
		{"answer cut", awssim.Fault{CutBody: 100}, true},
		{"hangs", awssim.Fault{Hang: true}, true},
		{"hangs after its effect", awssim.Fault{HangAfter: true}, true},
	}
}

// A life is opening, reading and releasing. It returns what went wrong.
func (w *world) life(ctx context.Context, change ...func(*workflow.VolumeRequest)) error {
	v, err := w.open(ctx, change...)
	if err != nil {
		return err
	}
	w.checkDisk(v)
	return v.Release(context.WithoutCancel(ctx))
}

// TestFaultOnce: a call that fails now and then changes nothing.
func TestFaultOnce(t *testing.T) {
	for _, action := range actions() {
		for _, kind := range kinds() {
			if !kind.passing {
				continue
			}
			t.Run(action+" "+kind.name, func(t *testing.T) {
				w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
				w.sim.SetFault(awssim.Times(2, awssim.Action(action), kind.fault))
				if err := w.life(t.Context()); err != nil {
					t.Errorf("open, read and release: %v", err)
				}
				w.nothingLeft()
			})
		}
	}
}

// from is with which of its calls an action begins to fail: one that is made
// again and again does so at each stage.
func from(action string) []int {
	if action == "DescribeVolumes" {
		return []int{1, 2, 3, 4, 6}
	}
	return []int{1}
}

// TestFaultForGood: whatever goes wrong without end, it is over in bounded time,
// and what is left is named, in the error and in the state file, with the
// command that removes it. Without an error nothing is left.
func TestFaultForGood(t *testing.T) {
	for _, action := range actions() {
		for _, from := range from(action) {
			for _, kind := range kinds() {
				t.Run(fmt.Sprintf("%s from %d %s", action, from, kind.name), func(t *testing.T) {
					w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
					w.timing.VolumeWait, w.timing.AttachWait = 600*time.Millisecond, 600*time.Millisecond
					w.timing.DetachWait, w.timing.Call = 600*time.Millisecond, 300*time.Millisecond
					w.sim.ResetCalls()
					w.sim.SetFault(func(c awssim.Call) awssim.Fault {
						if c.Action == action && c.N >= from {
							return kind.fault
						}
						return awssim.Fault{}
					})
					begun := time.Now()
					err := w.life(t.Context())
					if took := time.Since(begun); took > 20*time.Second {
						t.Errorf("it took %s", took)
					}
					if err == nil {
						w.nothingLeft()
						return
					}
					if strings.Contains(err.Error(), "\n") {
						t.Errorf("the error has several lines: %v", err)
					}
					w.leftIsNamed(err)
				})
			}
		}
	}
}

// TestCancelAtEachCall: an interrupt before or after the effect of any call
// leaves nothing, and the error says why.
func TestCancelAtEachCall(t *testing.T) {
	stop := errors.New("stopped by a test")
	for _, action := range actions()[:4] {
		for _, n := range from(action) {
			for name, fault := range map[string]awssim.Fault{"before": {Hang: true}, "after": {HangAfter: true}, "beside": {}} {
				t.Run(fmt.Sprintf("%s %d %s", action, n, name), func(t *testing.T) {
					w := newImpatientWorld(t, awssim.Config{EC2: awssim.EC2Config{NewVolume: awssim.Lag{Reads: 2}}}, 5*time.Second)
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					w.sim.ResetCalls()
					w.sim.SetFault(func(c awssim.Call) awssim.Fault {
						if c.Action != action || c.N != n {
							return awssim.Fault{}
						}
						time.AfterFunc(20*time.Millisecond, func() { cancel(stop) })
						return fault
					})
					err := w.life(ctx)
					if err != nil && !errors.Is(err, stop) {
						t.Errorf("error %v, want one that says why it was stopped", err)
					}
					if err == nil && name != "beside" && w.count("DetachVolume") == 0 {
						t.Error("no error although opening was interrupted")
					}
					w.nothingLeft()
				})
			}
		}
	}
}

// The tags of a kept volume fail in the same ways.
func TestFaultsOfKeeping(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind.name, func(t *testing.T) {
			w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
			w.timing.Call = 300 * time.Millisecond
			w.sim.SetFault(func(c awssim.Call) awssim.Fault {
				if c.Action == "CreateTags" {
					return kind.fault
				}
				return awssim.Fault{}
			})
			err := w.life(t.Context(), func(r *workflow.VolumeRequest) { r.Keep = true })
			w.checkError(err, []string{"mark volume vol-", "as kept"}, "")
			w.leftIsNamed(err)
		})
	}
}

// Each missing right is named.
func TestDeniedRightsAreNamed(t *testing.T) {
	for _, action := range actions() {
		t.Run(action, func(t *testing.T) {
			w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
			w.sim.DenyActions([]string{"ec2:" + action})
			err := w.life(t.Context())
			if err == nil || !strings.Contains(err.Error()+hint.Of(err), "ec2:"+action) {
				t.Errorf("error %v, hint %q do not name the right", err, hint.Of(err))
			}
			w.sim.DenyActions(nil)
			w.leftIsNamed(err)
		})
	}
}

// Where AWS answers nothing any more, the command that finds a volume is told.
func TestCreationThatNobodyCanLookUp(t *testing.T) {
	w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
	w.timing.Call = 300 * time.Millisecond
	w.sim.ResetCalls()
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		switch {
		case c.Action == "CreateVolume":
			return awssim.Fault{LoseAnswer: true}
		case c.Action == "DescribeVolumes" && c.N > 1:
			return awssim.Fault{CutBefore: true}
		}
		return awssim.Fault{}
	})
	_, err := w.open(t.Context())
	command := "aws ec2 describe-volumes --region us-east-1 --filters Name=snapshot-id,Values=" + string(w.snapshot.ID) + " Name=tag-key,Values=snap-to-s3-owner"
	w.checkError(err, []string{"create a gp3 volume", "see whether a volume was made from " + string(w.snapshot.ID), command}, "")
	left := w.state.Left()
	if len(left) != 1 || left[0].Kind != "volume" || left[0].Command != command || left[0].Fields["owner"] != w.owner.String() || left[0].Fields["token"] == "" {
		t.Errorf("the state file keeps %+v, want what finds the volume", left)
	}
	if n := len(w.alive()); n != 1 {
		t.Errorf("%d volumes, want the one that was made", n)
	}
	w.sweep()
}

// A volume that is found only while it is being taken back, and then cannot be
// deleted, is noted by its id.
func TestLateFoundVolumeIsNoted(t *testing.T) {
	w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
	stop := errors.New("stopped by a test")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	w.sim.DenyActions([]string{"ec2:DeleteVolume"})
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action != "CreateVolume" {
			return awssim.Fault{}
		}
		cancel(stop)
		return awssim.Fault{HangAfter: true}
	})
	_, err := w.open(ctx)
	w.checkError(err, []string{"stopped by a test", "ec2:DeleteVolume"}, "")
	w.leftIsNamed(err)
}
