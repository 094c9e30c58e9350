package ebs_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/ebs"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/snapshot"
)

const block = 512 << 10

// world is an account with snapshots, and lists of their blocks.
type world struct {
	t       *testing.T
	sim     *awssim.Server
	session *aws.Session
	*ebs.Lists
}

func newWorld(t *testing.T, cfg awssim.Config) *world {
	t.Helper()
	t.Parallel()
	cfg.Dir = t.TempDir()
	sim, err := awssim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	// The rights that must be enough.
	sim.SetPolicy([]string{"ebs:ListSnapshotBlocks", "ebs:ListChangedBlocks"})
	session := connect(t, sim.Env(), sim.Endpoint())
	return &world{t: t, sim: sim, session: session, Lists: ebs.New(ebs.Config{Session: session, PerSecond: 100_000})}
}

// environment is one for all tests of the process, and the simulators are many.
var environment sync.Mutex

// connect makes a session with what answers at an address.
func connect(t *testing.T, env []string, address string) *aws.Session {
	t.Helper()
	environment.Lock()
	defer environment.Unlock()
	for _, kv := range env {
		if k, v, _ := strings.Cut(kv, "="); !strings.HasPrefix(k, "AWS_ENDPOINT_URL") { // looked at with every new client
			if err := os.Setenv(k, v); err != nil { //nolint:usetesting // t.Setenv is not for parallel tests
				t.Fatal(err)
			}
		}
	}
	s, err := aws.Load(t.Context(), aws.Options{Stall: time.Second, MaxBackoff: 2 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.Config.BaseEndpoint = awssdk.String(address)
	return s
}

// image is a disk of blocks: of each the byte that it is full of, 0 for one that
// is not there.
func image(fill ...byte) []byte {
	var all []byte
	for _, b := range fill {
		all = append(all, bytes.Repeat([]byte{b}, block)...)
	}
	return all
}

func (w *world) add(spec awssim.SnapshotSpec, fill ...byte) snapshot.ID {
	w.t.Helper()
	disk := image(fill...)
	spec.Reader, spec.SizeBytes = bytes.NewReader(disk), int64(len(disk))
	id, err := w.sim.AddSnapshot(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return snapshot.ID(id)
}

// pair is two snapshots of a volume, and what a list must tell of them.
func (w *world) pair() (first, second snapshot.ID) {
	w.t.Helper()
	spec := awssim.SnapshotSpec{VolumeID: "vol-00000001"}
	return w.add(spec, 1, 1, 0, 1, 1, 1, 1, 0), w.add(spec, 1, 2, 3, 2, 0, 1, 2, 2)
}

func (w *world) checkPair(first, second snapshot.ID) {
	w.t.Helper()
	blocks, err := collect(w.Blocks(w.t.Context(), second))
	if err != nil || !slices.Equal(blocks, []int64{0, 1, 2, 3, 5, 6, 7}) {
		w.t.Errorf("blocks %v, %v", blocks, err)
	}
	changed, err := collect(w.Changed(w.t.Context(), first, second))
	want := []analyze.BlockChange{{Index: 1}, {Index: 2}, {Index: 3}, {Index: 6}, {Index: 7}}
	if err != nil || !slices.Equal(changed, want) {
		w.t.Errorf("changed blocks %v, %v", changed, err)
	}
}

func collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for one, err := range list {
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

// The SDK finds the simulator by what it says of its environment.
func TestEndpoint(t *testing.T) {
	sim, err := awssim.Start(awssim.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	environment.Lock()
	for _, kv := range sim.Env() {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	s, err := aws.Load(t.Context(), aws.Options{})
	environment.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, sim: sim, session: s, Lists: ebs.New(ebs.Config{Session: s})}
	w.checkPair(w.pair())
	if w.Requests() != 2 {
		t.Errorf("%d requests", w.Requests())
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]awssim.EBSConfig{
		"of one block": {PageSize: 1}, "of two": {PageSize: 2}, "with empty ones between": {PageSize: 3, Empty: 5}, "of all": {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{EBS: cfg})
			w.checkPair(w.pair())
		})
	}
}

// A token dies while its page is waited for: the list goes on by index, without
// a block twice or missing.
func TestTokensThatExpire(t *testing.T) {
	w := newWorld(t, awssim.Config{EBS: awssim.EBSConfig{PageSize: 2, Empty: 1, TokenLife: time.Minute}})
	var mu sync.Mutex
	calls, late := 0, time.Duration(0)
	w.sim.SetClock(func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(late)
	})
	w.sim.SetFault(func(awssim.Call) awssim.Fault {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%5 == 0 {
			late += 61 * time.Second // before the next call's time is taken
		}
		return awssim.Fault{}
	})
	w.checkPair(w.pair())
	expired := 0
	for _, c := range w.sim.Calls() {
		if c.Code == "ValidationException" {
			expired++
		}
	}
	if expired == 0 {
		t.Error("no token has expired: this test shows nothing")
	}
}

func TestFaultsThatPass(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]awssim.Fault{
		"throttled":   {Throttle: true},
		"500":         {Before: &awssim.Error{Status: 500, Code: "InternalServerException"}},
		"503":         {After: &awssim.Error{Status: 503, Code: "ServiceUnavailable"}},
		"cut":         {CutBefore: true},
		"lost answer": {LoseAnswer: true},
		"hanging":     {HangAfter: true},
		"half answer": {CutBody: 40},
		"stuck":       {HangBody: 40},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{EBS: awssim.EBSConfig{PageSize: 2}})
			first, second := w.pair()
			w.sim.SetFault(func(c awssim.Call) awssim.Fault {
				if c.N%3 == 2 {
					return f
				}
				return awssim.Fault{}
			})
			w.checkPair(first, second)
			// net/http itself repeats a GET whose connection was cut before an answer.
			if !slices.ContainsFunc(w.sim.Calls(), func(c awssim.Call) bool { return c.Fault != "" }) {
				t.Error("nothing has failed: this test shows nothing")
			}
		})
	}
}

// Both codes of throttling are waited out.
func TestQuota(t *testing.T) {
	w := newWorld(t, awssim.Config{EBS: awssim.EBSConfig{PageSize: 1}})
	first, second := w.pair()
	w.sim.SetQuota("ebs", awssim.Quota{PerSecond: 300, Burst: 1})
	w.checkPair(first, second)
	got := map[string]int{}
	for _, c := range w.sim.Calls() {
		got[c.Code]++
	}
	if got["ThrottlingException"] == 0 || got["RequestThrottleException"] == 0 {
		t.Errorf("answers %v: this test shows nothing", got)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	good := w.add(awssim.SnapshotSpec{VolumeID: "vol-00000001"}, 1)
	for _, c := range []struct {
		name  string
		id    snapshot.ID
		first snapshot.ID
		text  string
	}{
		{"gone", "snap-0123456789abcdef0", "", "does not exist"},
		{"pending", w.add(awssim.SnapshotSpec{State: "pending"}, 1), "", "is not in the 'completed' state"},
		{"archived", w.add(awssim.SnapshotSpec{Archived: true}, 1), "", "is archived"},
		{"foreign", w.add(awssim.SnapshotSpec{OwnerID: "999988887777"}, 1), "", "not this account's to read"},
		{"of another volume", good, w.add(awssim.SnapshotSpec{}, 1), "are not related"},
		{"gone before", good, "snap-0123456789abcdef0", "does not exist"},
	} {
		var err error
		if c.first == "" {
			_, err = collect(w.Blocks(t.Context(), c.id))
		} else {
			_, err = collect(w.Changed(t.Context(), c.first, c.id))
		}
		if !errors.Is(err, analyze.ErrBlocksRefused) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), string(c.id)+" in us-east-1") {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	w.sim.SetFault(awssim.Times(1, awssim.Action("ListSnapshotBlocks"), awssim.Fault{Before: &awssim.Error{Status: 402, Code: "ServiceQuotaExceededException"}}))
	if _, err := collect(w.Blocks(t.Context(), good)); err == nil || errors.Is(err, analyze.ErrBlocksRefused) {
		t.Errorf("over a quota: got %v", err)
	}
	w.sim.DenyActions([]string{"ebs:List*"})
	_, err := collect(w.Blocks(t.Context(), good))
	if err == nil || errors.Is(err, analyze.ErrBlocksRefused) || !strings.Contains(err.Error(), "access denied, ebs:ListSnapshotBlocks is needed") {
		t.Errorf("denied: got %v", err)
	}
	_, err = collect(w.Changed(t.Context(), good, good))
	if err == nil || !strings.Contains(err.Error(), "ebs:ListChangedBlocks is needed") {
		t.Errorf("denied: got %v", err)
	}
}

func TestListsEndWithTheirContext(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	id := w.add(awssim.SnapshotSpec{}, 1)
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	w.sim.SetFault(func(awssim.Call) awssim.Fault {
		cancel(stop)
		return awssim.Fault{Hang: true}
	})
	if _, err := collect(w.Blocks(ctx, id)); !errors.Is(err, stop) || !strings.HasSuffix(err.Error(), "enough") {
		t.Errorf("got %v", err)
	}
}
