package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/hint"
)

// claimed returns a memory with a claim of alpha's on it, with what arrange set.
func claimed(t *testing.T, arrange func(*catalogtest.Memory, *catalog.Protocol)) (*catalogtest.Memory, context.Context, *catalog.Claim) {
	t.Helper()
	m := memory(map[string]string{"t": "migrate"})
	p := protocol(m, alpha)
	if arrange != nil {
		arrange(m, p)
	}
	ctx, c, err := p.Claim(t.Context(), migrate())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return m, ctx, c
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, ctx, c := claimed(t, nil)
		first := c.Owner()
		time.Sleep(5*time.Minute + time.Second)
		st := catalog.StateOf(m.Tags(id), "t")
		if want := first.Renewed.Add(5*time.Minute + 4*time.Second); !st.Owner.Renewed.Equal(want) || c.Owner() != st.Owner {
			t.Errorf("renewed %s, Owner() %s, want %s", st.Owner.Renewed, c.Owner(), want)
		}
		time.Sleep(10 * time.Hour)
		if err := errors.Join(ctx.Err(), c.Check(t.Context()), c.Complete(t.Context(), "migrated")); err != nil {
			t.Error(err)
		}
		sameTags(t, m, map[string]string{"t": "migrated"})
		n := len(m.Calls())
		time.Sleep(time.Hour)
		if len(m.Calls()) != n {
			t.Errorf("%d calls after the end", len(m.Calls())-n)
		}
	})
}

// A renewal that fails is tried again soon; after half an hour the claim is lost
// and nothing is written any more.
func TestRenewalFails(t *testing.T) {
	for _, op := range []string{catalogtest.OpDescribe, catalogtest.OpCreate} {
		for _, minutes := range []int{20, 40} {
			t.Run(fmt.Sprintf("%s for %d minutes", op, minutes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var down atomic.Bool
					m, ctx, c := claimed(t, func(m *catalogtest.Memory, _ *catalog.Protocol) {
						m.Before = func(_ context.Context, c catalogtest.Call) error {
							if down.Load() && c.Op == op {
								return errFault
							}
							return nil
						}
					})
					down.Store(true)
					time.Sleep(time.Duration(minutes) * time.Minute)
					down.Store(false)
					wrote := writes(m)
					time.Sleep(time.Minute)
					if minutes < 30 {
						if err := errors.Join(context.Cause(ctx), c.Check(t.Context())); err != nil {
							t.Errorf("the claim did not outlive it: %v", err)
						}
						if writes(m) != wrote+1 {
							t.Errorf("%d renewals in the minute after, want 1", writes(m)-wrote)
						}
						return
					}
					if cause := context.Cause(ctx); !errors.Is(cause, catalog.ErrLost) {
						t.Errorf("cause %v, want ErrLost", cause)
					}
					for _, err := range []error{c.Check(t.Context()), c.Complete(t.Context(), "migrated")} {
						if !errors.Is(err, catalog.ErrLost) {
							t.Errorf("error %v, want ErrLost", err)
						}
					}
					if writes(m) != wrote {
						t.Errorf("writes after the claim was lost: %v", m.Calls())
					}
					// Nobody took it, so it can be given back.
					if err := c.GiveBack(t.Context()); err != nil {
						t.Error(err)
					}
					sameTags(t, m, map[string]string{"t": "migrate"})
				})
			})
		}
	}
}

// A machine's clock that is set, by hours and either way, is not the claim's: its age
// goes by the service's time, which each of its answers tells.
func TestTheMachinesClockIsSet(t *testing.T) {
	for _, jump := range []time.Duration{3 * time.Hour, -3 * time.Hour, 40 * time.Minute} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var machine, offset atomic.Int64 // how far the machine's clock is off, and what is taken off for it
				m, ctx, c := claimed(t, func(m *catalogtest.Memory, p *catalog.Protocol) {
					p.Now = func() time.Time { return time.Now().Add(time.Duration(machine.Load() + offset.Load())) }
					m.Before = func(context.Context, catalogtest.Call) error {
						offset.Store(-machine.Load())
						return nil
					}
				})
				machine.Store(int64(jump))
				time.Sleep(5*time.Minute + 5*time.Second)
				if err := errors.Join(context.Cause(ctx), c.Check(t.Context())); err != nil {
					t.Errorf("the claim was lost: %v", err)
				}
				if st := catalog.StateOf(m.Tags(id), "t"); time.Since(st.Owner.Renewed).Abs() > time.Minute {
					t.Errorf("it was renewed as of %s, and it is %s", st.Owner.Renewed, time.Now())
				}
				if err := c.Complete(t.Context(), "migrated"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A process that was stopped (SIGSTOP, a suspended machine) finds the clock far
// ahead. It must not write, whether or not it sees who came after it.
func TestStoppedForLong(t *testing.T) {
	for _, taken := range []bool{false, true} {
		for _, first := range []string{"renewal", "check", "complete"} {
			t.Run(fmt.Sprintf("%s first, taken %t", first, taken), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var ahead atomic.Int64
					m, ctx, c := claimed(t, func(_ *catalogtest.Memory, p *catalog.Protocol) {
						p.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
					})
					ahead.Store(int64(2 * time.Hour))
					if taken {
						next := map[string]string{"t-id": "7", "t-owner": ownerAt(beta, time.Now().Add(2*time.Hour), "migrate")}
						if err := m.SetTags(t.Context(), id, next); err != nil {
							t.Fatal(err)
						}
					}
					want, wrote := m.Tags(id), writes(m)
					var err error
					switch first {
					case "renewal":
						time.Sleep(5*time.Minute + time.Second)
						err = context.Cause(ctx)
					case "check":
						err = c.Check(t.Context())
					case "complete":
						err = c.Complete(t.Context(), "migrated")
					}
					if !errors.Is(err, catalog.ErrLost) || !errors.Is(context.Cause(ctx), catalog.ErrLost) {
						t.Errorf("error %v, cause %v, want ErrLost", err, context.Cause(ctx))
					}
					if writes(m) != wrote {
						t.Errorf("it wrote: %v", m.Calls())
					}
					sameTags(t, m, want)
				})
			})
		}
	}
}

// What became of the tags while the work went on, and what each call says to it.
func TestTakenAway(t *testing.T) {
	other := map[string]string{"t": "migrating", "t-id": "7", "t-owner": ownerAt(beta, time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC), "migrate")}
	for _, c := range []struct {
		name  string
		write map[string]string
		drop  []string
		left  map[string]string // after GiveBack
		text  string
	}{
		{"another run", other, nil, other, beta.Run},
		{"the predecessor", map[string]string{"t": "migrating", "t-id": "7"}, nil, map[string]string{"t": "migrating", "t-id": "7"}, "t-id is 7"},
		{"marked again by hand", map[string]string{"t": "migrate"}, nil, map[string]string{"t": "migrate"}, `"migrate"`},
		{"tag deleted by hand", nil, []string{"t"}, nil, "no tag t"},
		{"everything deleted", nil, []string{"t", "t-id", "t-owner"}, nil, "no tag t"},
	} {
		for _, by := range []string{"renewal", "check", "complete", "give back"} {
			t.Run(c.name+", "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, ctx, claim := claimed(t, nil)
					tags := m.Tags(id)
					if c.write != nil {
						if err := m.SetTags(t.Context(), id, c.write); err != nil {
							t.Fatal(err)
						}
					}
					for _, key := range c.drop {
						if err := m.DeleteTags(t.Context(), id, map[string]string{key: tags[key]}); err != nil {
							t.Fatal(err)
						}
					}
					var err error
					switch by {
					case "renewal":
						time.Sleep(6 * time.Minute)
						err = context.Cause(ctx)
					case "check":
						err = claim.Check(t.Context())
					case "complete":
						err = claim.Complete(t.Context(), "migrated")
					case "give back":
						err = claim.GiveBack(t.Context())
					}
					if !errors.Is(err, catalog.ErrLost) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), string(id)) {
						t.Errorf("error %v, want ErrLost with %q", err, c.text)
					}
					if !errors.Is(context.Cause(ctx), catalog.ErrLost) {
						t.Errorf("cause %v, want ErrLost", context.Cause(ctx))
					}
					if err := claim.GiveBack(t.Context()); !errors.Is(err, catalog.ErrLost) {
						t.Errorf("GiveBack: %v, want ErrLost", err)
					}
					sameTags(t, m, c.left)
				})
			})
		}
	}
}

// A renewal under way when the work ends is over before the tag is written.
func TestEndWaitsForRenewal(t *testing.T) {
	for _, end := range []string{"migrated", ""} {
		synctest.Test(t, func(t *testing.T) {
			m, _, c := claimed(t, func(m *catalogtest.Memory, _ *catalog.Protocol) {
				m.Before = func(ctx context.Context, c catalogtest.Call) error {
					if c.Op == catalogtest.OpCreate && len(c.Tags) == 1 && c.Tags["t-owner"] != "" {
						return wait(ctx, 20*time.Second)
					}
					return nil
				}
			})
			time.Sleep(5*time.Minute + time.Second)
			before := time.Now()
			var err error
			want := map[string]string{"t": "migrate"}
			if end != "" {
				err, want = c.Complete(t.Context(), end), map[string]string{"t": end}
			} else {
				err = c.GiveBack(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
			if waited := time.Since(before); waited < 15*time.Second {
				t.Errorf("it waited %s, the renewal had 19s to go", waited)
			}
			sameTags(t, m, want)
		})
	}
}

// Each call of claim, check and end fails before or after its effect, once or
// for good. The outcome is told truly, and what stays is named.
func TestFaults(t *testing.T) {
	for _, end := range []string{"migrated", ""} {
		for _, others := range []int{0, 49} { // apart; in one value
			for _, after := range []bool{false, true} {
				for _, lasting := range []bool{false, true} {
					for n := 1; n <= 8; n++ {
						name := fmt.Sprintf("end %q, %d tags, after %t, lasting %t, call %d", end, others, after, lasting, n)
						t.Run(name, func(t *testing.T) {
							synctest.Test(t, func(t *testing.T) { faultCase(t, faultPlan{end, others, n, after, lasting}) })
						})
					}
				}
			}
		}
	}
}

type faultPlan struct {
	end            string
	others, n      int
	after, lasting bool
}

func faultCase(t *testing.T, f faultPlan) {
	start := plus(many(f.others), "t", "migrate")
	m := memory(start)
	fault := failNth(f.n, f.lasting)
	if f.after {
		m.After = fault
	} else {
		m.Before = fault
	}
	want := start
	_, c, err := protocol(m, alpha).Claim(t.Context(), migrate())
	switch {
	case err != nil:
	case f.end != "":
		err = errors.Join(c.Check(t.Context()), c.Complete(t.Context(), f.end))
		if st := catalog.StateOf(m.Tags(id), "t"); st.Value == f.end {
			want = plus(start, "t", f.end)
		} else if err == nil {
			t.Errorf("no error, but the tag is %q", st.Value)
		}
	default:
		err = c.GiveBack(t.Context())
	}
	switch tags := m.Tags(id); {
	case f.lasting && err == nil:
		if len(m.Calls()) >= f.n {
			t.Error("no error although all calls failed")
		}
	case f.lasting:
		if !errors.Is(err, errFault) {
			t.Errorf("error %v", err)
		}
		st := catalog.StateOf(tags, "t")
		if (st.Value == "migrating" || st.ID != "") && (!st.Owned || hint.Of(err) == "") {
			t.Errorf("left behind %v, error %v, hint %q", tags, err, hint.Of(err))
		}
	case f.n == 1 || err == nil:
		sameTags(t, m, want)
	default: // one call failed: the error is told, and the claim is or can be given back
		if c != nil {
			err = c.GiveBack(t.Context())
			if f.end == "" && err != nil {
				t.Errorf("given back a second time: %v", err)
			}
		}
		sameTags(t, m, want)
	}
	if c != nil {
		c.Stop()
	}
}

// failNth makes the n-th call fail, and with lasting all after it.
func failNth(n int, lasting bool) catalogtest.Hook {
	var calls atomic.Int64
	return func(context.Context, catalogtest.Call) error {
		if i := int(calls.Add(1)); i == n || lasting && i > n {
			return errFault
		}
		return nil
	}
}

// The answer of a renewal was lost and readings still show the owner from
// before it: both texts are taken off.
func TestLostRenewalIsTakenOff(t *testing.T) {
	for _, others := range []int{0, 49} {
		synctest.Test(t, func(t *testing.T) {
			start := plus(many(others), "t", "migrate")
			m := memory(start)
			m.Lag = func(string) time.Duration { return 3 * time.Second }
			m.After = func(_ context.Context, c catalogtest.Call) error {
				if c.Op == catalogtest.OpCreate && len(c.Tags) == 1 && c.Tags["t"] != "migrate" {
					return errFault
				}
				return nil
			}
			_, c, err := protocol(m, alpha).Claim(t.Context(), named())
			if others > 0 { // the claim itself is such a write then
				if err == nil {
					t.Fatal("claimed")
				}
				sameTags(t, m, start)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5*time.Minute + time.Second)
			if err := c.GiveBack(t.Context()); err != nil {
				t.Error(err)
			}
			sameTags(t, m, start)
		})
	}
}

// From SetBefore on, the claim is given back as that, by us or by a run that
// takes over, and renewals keep it.
func TestSetBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory(map[string]string{"t": "migrated"})
		_, c, err := protocol(m, alpha).Claim(t.Context(), named())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetBefore(t.Context(), "migrate"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if o := catalog.StateOf(m.Tags(id), "t").Owner; o.Before != "migrate" || !o.HadBefore {
				t.Errorf("owner %s, want migrate as the value before", o)
			}
			time.Sleep(6 * time.Minute)
		}
		if err := c.GiveBack(t.Context()); err != nil {
			t.Fatal(err)
		}
		sameTags(t, m, map[string]string{"t": "migrate"})
	})
}

// An owner that a finished run could not delete does not keep others away.
func TestOwnerBesideAFinishedValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory(map[string]string{"t": "migrated", "t-id": "7", "t-owner": ownerAt(beta, time.Now(), "migrate")})
		_, c, err := protocol(m, alpha).Claim(t.Context(), named())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Complete(t.Context(), "migrated"); err != nil {
			t.Fatal(err)
		}
		sameTags(t, m, map[string]string{"t": "migrated"})
	})
}
