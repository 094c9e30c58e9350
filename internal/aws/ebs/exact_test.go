package ebs_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/aws/ebs"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/snapshot"
)

// Exact sizes through the real client, of disks that are written, written over
// and discarded, in pages of which some are empty, with a throttle now and then.
func TestExactSizes(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone blocks are listed: %t", gone), func(t *testing.T) {
			w := newWorld(t, awssim.Config{EBS: awssim.EBSConfig{PageSize: 5, Empty: 1, ListGone: gone}})
			w.sim.SetFault(func(c awssim.Call) awssim.Fault { return awssim.Fault{Throttle: c.N%7 == 0} })
			r := rand.New(rand.NewPCG(1, 2))
			want := map[snapshot.ID]int64{}
			var all []snapshot.Snapshot
			for v := range 4 {
				all = append(all, w.history(r, snapshot.VolumeID(fmt.Sprintf("vol-0000000%d", v)), want)...)
			}
			e := analyze.Exact{Lists: w.Lists, Jobs: 2, Log: slog.New(slog.DiscardHandler)}
			got, err := e.Sizes(t.Context(), all)
			if err != nil || len(got.Skipped) != 0 {
				t.Fatalf("%+v, %v", got.Skipped, err)
			}
			checkBilled(t, all, got.Spans, want)
		})
	}
}

// history makes snapshots of one volume; want learns what each is billed for.
func (w *world) history(r *rand.Rand, volume snapshot.VolumeID, want map[snapshot.ID]int64) []snapshot.Snapshot {
	var all []snapshot.Snapshot
	before, disk := make([]byte, 24), make([]byte, 24)
	for i := range 5 {
		for range r.IntN(10) {
			disk[r.IntN(len(disk))] = byte(r.IntN(250)) // 0 is discarded
		}
		start := time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC)
		id := w.add(awssim.SnapshotSpec{VolumeID: string(volume), Start: start}, disk...)
		s := snapshot.Snapshot{ID: id, VolumeID: volume, Size: int64(len(disk)) * block, Start: start, State: snapshot.StateCompleted}
		for n, b := range disk {
			if b != 0 {
				s.FullSize += block
			}
			if b != 0 && b != before[n] {
				want[id] += block
			}
		}
		copy(before, disk)
		all = append(all, s)
	}
	return all
}

func checkBilled(t *testing.T, all []snapshot.Snapshot, spans map[snapshot.VolumeID][]cost.Span, want map[snapshot.ID]int64) {
	t.Helper()
	billed, full, at := map[snapshot.ID]int64{}, make([]int64, len(all)), map[snapshot.ID]int{}
	for i, s := range all {
		at[s.ID] = i
	}
	for _, of := range spans {
		for _, s := range of {
			billed[s.First] += s.Bytes
			for i := at[s.First]; i <= at[s.Last]; i++ {
				full[i] += s.Bytes
			}
		}
	}
	for i, s := range all {
		if billed[s.ID] != want[s.ID] || full[i] != s.FullSize {
			t.Errorf("%s of %s: billed %d, want %d; full %d, want %d", s.ID, s.VolumeID, billed[s.ID], want[s.ID], full[i], s.FullSize)
		}
	}
}

// A key that may not be used is no matter of other snapshots.
func TestKeyDenied(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"Message":"The ciphertext refers to a key that cannot be used","Reason":"DEPENDENCY_ACCESS_DENIED"}`)) // the client says what it got
	}))
	t.Cleanup(server.Close)
	s := connect(t, []string{"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=us-east-1"}, server.URL)
	_, err := collect(ebs.New(ebs.Config{Session: s}).Blocks(t.Context(), "snap-00000001"))
	if !errors.Is(err, analyze.ErrBlocksRefused) || !strings.Contains(err.Error(), "snap-00000001") {
		t.Errorf("got %v", err)
	}
}
