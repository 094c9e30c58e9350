package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/snapshot"
)

// actor is one process of the state machine, as drawn before it runs.
type actor struct {
	kind  string // "marked", "named", "predecessor"
	start time.Duration
	work  time.Duration
	fails bool          // gives back instead of completing
	dies  time.Duration // after this time none of its calls starts or returns; 0: never
	// stops and wakes are when it is stopped and goes on, as by SIGSTOP and SIGCONT.
	stops, wakes time.Duration
}

func actors(t *rapid.T, kinds ...string) []actor {
	ms := func(name string, most time.Duration) time.Duration {
		return time.Duration(rapid.IntRange(0, int(most.Milliseconds())).Draw(t, name)) * time.Millisecond
	}
	n := rapid.IntRange(2, 5).Draw(t, "processes")
	all := make([]actor, n)
	for i := range all {
		a := actor{kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
		// Most start within the same few seconds, some hours later.
		a.start = ms("start", rapid.SampledFrom([]time.Duration{time.Second, 8 * time.Second, 3 * time.Hour}).Draw(t, "start within"))
		a.work = ms("work", rapid.SampledFrom([]time.Duration{2 * time.Second, 100 * time.Minute}).Draw(t, "work within"))
		a.fails = rapid.Bool().Draw(t, "fails")
		if rapid.IntRange(0, 3).Draw(t, "mortal") == 0 {
			a.dies = a.start + ms("dies", rapid.SampledFrom([]time.Duration{10 * time.Second, 2 * time.Hour}).Draw(t, "dies within")) + 1
		}
		if a.kind != "predecessor" && rapid.IntRange(0, 2).Draw(t, "sleeper") == 0 {
			a.stops = a.start + ms("stops", rapid.SampledFrom([]time.Duration{10 * time.Second, 2 * time.Hour}).Draw(t, "stops within")) + 1
			a.wakes = a.stops + ms("sleeps", rapid.SampledFrom([]time.Duration{time.Minute, 40 * time.Minute, 3 * time.Hour}).Draw(t, "sleeps within"))
		}
		all[i] = a
	}
	return all
}

// world runs actors over one snapshot and records who believes to hold it.
type world struct {
	t      *testing.T
	m      *catalogtest.Memory
	ctx    context.Context // ends with the case
	start  time.Time
	strict bool // two holders at a time are a failure

	mu       sync.Mutex
	holders  map[int]bool
	complete int  // by a run that was marked
	named    bool // a run said that its tags may stay
	trouble  []string
}

func (w *world) hold(i int, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !on {
		delete(w.holders, i)
		return
	}
	w.holders[i] = true
	if len(w.holders) > 1 && w.strict {
		w.trouble = append(w.trouble, fmt.Sprintf("at %s processes %v all hold the snapshot", time.Since(w.start), w.holders))
	}
}

// mortal is the catalog as one process sees it: from its death on nothing it
// calls is done, and nothing returns.
//
// While its process is stopped, calls that read do not start and none returns. A
// write that was begun goes on: what is between the protocol's look at the clock
// and its call is too short to be stopped in.
type mortal struct {
	catalog.Catalog
	w            *world
	at           time.Time // zero: never
	stops, wakes time.Time
	holds        *atomic.Bool // nil: it is stopped at any time, else only once this is set
}

// asleep waits until the process goes on.
func (m mortal) asleep() {
	if now := time.Now(); (m.holds == nil || m.holds.Load()) && now.After(m.stops) && now.Before(m.wakes) {
		time.Sleep(m.wakes.Sub(now))
	}
}

func (m mortal) die() error {
	if !m.at.IsZero() && !time.Now().Before(m.at) {
		<-m.w.ctx.Done()
		return errors.New("died")
	}
	return nil
}

func (m mortal) Snapshots(ctx context.Context, f catalog.Filter) iter.Seq2[snapshot.Snapshot, error] {
	return func(yield func(snapshot.Snapshot, error) bool) {
		m.asleep()
		if err := m.die(); err != nil {
			yield(snapshot.Snapshot{}, err)
			return
		}
		for s, err := range m.Catalog.Snapshots(ctx, f) {
			m.asleep()
			if dead := m.die(); dead != nil {
				err = dead
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func (m mortal) SetTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	return m.call(func() error { return m.Catalog.SetTags(ctx, id, tags) })
}

func (m mortal) DeleteTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	return m.call(func() error { return m.Catalog.DeleteTags(ctx, id, tags) })
}

func (m mortal) call(do func() error) error {
	if err := m.die(); err != nil {
		return err
	}
	err := do()
	m.asleep()
	if dead := m.die(); dead != nil {
		return dead
	}
	return err
}

func (w *world) run(i int, a actor) {
	cat := mortal{Catalog: w.m, w: w}
	if a.dies > 0 {
		cat.at = w.start.Add(a.dies)
	}
	if a.wakes > 0 {
		cat.stops, cat.wakes = w.start.Add(a.stops), w.start.Add(a.wakes)
	}
	if w.strict { // a process that is stopped while it claims writes too late, which breaks the promise
		cat.holds = &atomic.Bool{}
	}
	time.Sleep(a.start + time.Duration(i)) // never two at the same nanosecond
	if a.kind == "predecessor" {
		w.predecessor(i, a, cat)
		return
	}
	self := catalog.Identity{Host: "host-" + strconv.Itoa(i), Boot: "boot", Run: "run-" + strconv.Itoa(i)}
	r := migrate()
	r.AnyValue = a.kind == "named"
	ctx, c, err := protocol(cat, self).Claim(w.ctx, r)
	if err != nil {
		if _, stays := errors.AsType[*catalog.StaysError](err); stays {
			w.mu.Lock()
			w.named = true
			w.mu.Unlock()
		}
		return
	}
	defer c.Stop()
	if cat.holds != nil {
		cat.holds.Store(true)
	}
	w.hold(i, true)
	ended := w.work(ctx, a, cat, func() error {
		w.hold(i, false)
		cat.asleep()
		err := c.Check(ctx)
		w.hold(i, err == nil)
		return err
	})
	w.hold(i, false)
	if ended == errDied {
		<-w.ctx.Done()
		return
	}
	if ended == nil && c.Check(ctx) == nil && !a.fails {
		if c.Complete(w.ctx, catalog.Migrated) == nil && a.kind == "marked" {
			w.mu.Lock()
			w.complete++
			w.mu.Unlock()
			return
		}
	}
	if err := c.GiveBack(w.ctx); err != nil && !errors.Is(err, catalog.ErrLost) && !errors.Is(err, errFault) && w.ctx.Err() == nil {
		w.mu.Lock()
		w.trouble = append(w.trouble, err.Error())
		w.mu.Unlock()
	}
}

var errDied = errors.New("died at work")

// work is what a process does while it holds the snapshot. Each time it is stopped,
// sleep is called.
func (w *world) work(ctx context.Context, a actor, cat mortal, sleep func() error) error {
	var death, stop <-chan time.Time
	if !cat.at.IsZero() {
		death = time.After(time.Until(cat.at))
	}
	if time.Now().Before(cat.wakes) {
		stop = time.After(time.Until(cat.stops) + 1) // asleep does not begin before
	}
	done := time.After(a.work)
	for {
		select {
		case <-death:
			return errDied
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stop:
			if err := sleep(); err != nil {
				return err
			}
			stop = nil
		case <-done:
			return nil
		}
	}
}

// predecessor claims as snap-to-s3 0.6.1 does: tag and id, no owner, no look
// before the end; on completion the id goes first.
func (w *world) predecessor(i int, a actor, cat mortal) {
	tags := w.read(cat)
	if tags["t"] != "migrate" {
		return
	}
	number := strconv.FormatUint(uint64(rand.Uint32()), 10)
	if cat.SetTags(w.ctx, id, map[string]string{"t": "migrating", "t-id": number}) != nil {
		return
	}
	time.Sleep(4 * time.Second)
	if tags = w.read(cat); tags["t"] != "migrating" || tags["t-id"] != number {
		return
	}
	w.hold(i, true)
	ended := w.work(w.ctx, a, cat, nil)
	w.hold(i, false)
	if ended != nil {
		<-w.ctx.Done()
		return
	}
	end := "migrated"
	if a.fails {
		end = "migrate"
	}
	if cat.DeleteTags(w.ctx, id, map[string]string{"t-id": number}) == nil {
		if cat.SetTags(w.ctx, id, map[string]string{"t": end}) == nil && !a.fails {
			w.mu.Lock()
			w.complete++
			w.mu.Unlock()
		}
	}
}

func (w *world) read(cat mortal) map[string]string {
	for s := range cat.Snapshots(w.ctx, catalog.Filter{IDs: []snapshot.ID{id}}) {
		return s.Tags
	}
	return nil
}

// play runs all actors to their end and returns the tags they leave.
func play(t *testing.T, all []actor, m *catalogtest.Memory, strict bool) (*world, map[string]string) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{t: t, m: m, ctx: ctx, start: time.Now(), strict: strict, holders: map[int]bool{}}
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() { w.run(i, a) })
	}
	time.Sleep(24 * time.Hour) // longer than any of them
	tags := m.Tags(id)
	cancel()
	wg.Wait()
	return w, tags
}

// whole returns what is wrong with the tags that stay when all have ended: they
// must be at rest, or name the dead run that holds them and what to give back.
func (w *world) whole(tags map[string]string, others []string) string {
	st := catalog.StateOf(tags, "t")
	for _, key := range others {
		if _, ok := tags[key]; !ok {
			return fmt.Sprintf("the tag %s is gone", key)
		}
	}
	switch {
	case st.Value == "migrating" && st.Owned && st.Owner.HadBefore && (st.Owner.Before == "migrate" || st.Owner.Before == "migrated"):
		return ""
	case st.Value == "migrating" && w.named: // and a person was told how to put it back
		return ""
	case st.Value == "migrating" || st.Value != "migrate" && st.Value != "migrated":
		return "in progress, but nobody's"
	}
	return ""
}

// Any number of runs of this tool, at any interleaving, readings that lag, deaths
// at any call, processes that are stopped at work and go on hours later: while
// writes show within the settle window, at most one believes that it holds the
// snapshot, and its state is never lost.
func TestClaimMachine(t *testing.T) {
	for _, c := range []struct {
		name   string
		kinds  []string
		others int
	}{
		{"marked and named", []string{"marked", "named"}, 1},
		{"in one value", []string{"marked", "named"}, 49},
		{"with the predecessor", []string{"marked", "predecessor"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				all := actors(rt, c.kinds...)
				seed := rapid.Uint64().Draw(rt, "seed")
				var w *world
				var tags map[string]string
				synctest.Test(t, func(t *testing.T) {
					m := memory(plus(many(c.others), "t", "migrate"))
					slow(m, seed, 900*time.Millisecond, 900*time.Millisecond)
					w, tags = play(t, all, m, true)
				})
				for _, s := range w.trouble {
					rt.Error(s)
				}
				if c.kinds[1] == "predecessor" { // its own dead claims have no owner, by nature
					if w.complete > 1 {
						rt.Errorf("completed %d times", w.complete)
					}
					if st := catalog.StateOf(tags, "t"); st.Owned && !dies(all, st.Owner.Run) {
						rt.Errorf("the owner of a live run stays: %v", tags)
					}
					return
				}
				if s := w.whole(tags, []string{"tag 00"}); s != "" {
					rt.Errorf("%s: %v", s, tags)
				}
				st := catalog.StateOf(tags, "t")
				if !dies(all, "") && (st.InProgress() || st.ID != "" || st.Owned) {
					rt.Errorf("nobody died, but %v stays", tags)
				}
			})
		})
	}
}

// The same with calls that take longer than the window, calls that fail before or
// after their effect, and processes that are stopped anywhere: two may win, but no
// state is lost.
func TestClaimMachineOutsideTheWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := actors(rt, "marked", "named")
		seed := rapid.Uint64().Draw(rt, "seed")
		oneIn := rapid.SampledFrom([]int{0, 5, 20}).Draw(rt, "one call fails in")
		others := rapid.SampledFrom([]int{1, 49}).Draw(rt, "others")
		var w *world
		var tags map[string]string
		synctest.Test(t, func(t *testing.T) {
			m := memory(plus(many(others), "t", "migrate"))
			slow(m, seed, 900*time.Millisecond, 15*time.Second)
			flaky(m, seed, oneIn)
			w, tags = play(t, all, m, false)
		})
		for _, s := range w.trouble {
			rt.Error(s)
		}
		if s := w.whole(tags, []string{"tag 00"}); s != "" {
			rt.Errorf("%s: %v", s, tags)
		}
	})
}

// dies tells whether the actor with this run was drawn to die; "" is any.
func dies(all []actor, run string) bool {
	for i, a := range all {
		if a.dies > 0 && (run == "" || run == "run-"+strconv.Itoa(i)) {
			return true
		}
	}
	return false
}

// slow makes readings up to lag old and calls up to latency long, half of it
// before their effect. It draws by the clock, so that a case can be played again.
func slow(m *catalogtest.Memory, seed uint64, lag, latency time.Duration) {
	hook := func(salt uint64) catalogtest.Hook {
		return func(ctx context.Context, _ catalogtest.Call) error { return wait(ctx, drawn(seed, salt, latency/2)) }
	}
	m.Lag = func(key string) time.Duration { return drawn(seed, uint64(len(key)), lag) }
	m.Before, m.After = hook(100), hook(101)
}

func drawn(seed, salt uint64, most time.Duration) time.Duration {
	return time.Duration(rand.New(rand.NewPCG(seed^salt<<56, uint64(time.Now().UnixNano()))).Int64N(int64(most)))
}

// flaky makes one in n calls fail before, and as many after their effect.
func flaky(m *catalogtest.Memory, seed uint64, n int) {
	if n == 0 {
		return
	}
	with := func(salt uint64, next catalogtest.Hook) catalogtest.Hook {
		return func(ctx context.Context, c catalogtest.Call) error {
			if err := next(ctx, c); err != nil {
				return err
			}
			if drawn(seed, salt, time.Duration(n)) == 0 {
				return errFault
			}
			return nil
		}
	}
	m.Before, m.After = with(102, m.Before), with(103, m.After)
}
