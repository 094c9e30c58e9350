package workflow_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/workflow"
)

// silentStore tells no checksums.
type silentStore struct{ *objstore.Memory }

func (s silentStore) Stat(ctx context.Context, key string) (objstore.Info, error) {
	info, err := s.Memory.Stat(ctx, key)
	info.CRC64NVME = ""
	return info, err
}

// A quick look says only what it has seen.
func TestQuickSaysWhatItSaw(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk)
	if r := w.quickRun().do(t.Context(), all()); r.err != nil {
		t.Fatal(r.err)
	}
	for want, store := range map[workflow.Proven]objstore.Store{workflow.ProvenRecord: w.store, workflow.ProvenSize: silentStore{w.store}} {
		v := verifyThese(t, store, workflow.VerifySubject{All: true}, quick)
		if v.err != nil || len(v.verified) != 1 || v.verified[0].Proven != want {
			t.Errorf("want %s: %v", want, v)
		}
	}
}

// An archive may be named by whatever belongs to it.
func TestVerifyByKey(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk)
	if r := w.quickRun().do(t.Context(), all()); r.err != nil {
		t.Fatal(r.err)
	}
	for _, key := range w.store.Keys() {
		v := verifyThese(t, w.store, workflow.VerifySubject{Keys: []string{key}})
		if v.err != nil || len(v.verified) != 1 || strings.HasPrefix(v.verified[0].Key, layout.Manifests) {
			t.Errorf("%s: %v", key, v)
		}
	}
}

// Nothing to verify is no success: somebody may go on to delete.
func TestVerifyOfNothingFails(t *testing.T) {
	t.Parallel()
	v := verifyThese(t, objstore.NewMemory(objstore.MemoryOptions{}), workflow.VerifySubject{All: true})
	if v.err == nil || errors.Is(v.err, workflow.ErrNothing) || !strings.Contains(v.err.Error(), "nothing was verified") {
		t.Errorf("an empty bucket: %v", v.err)
	}
}

// What was found to differ is not forgotten because the run is stopped then.
func TestStoppedVerificationTellsOfDifferences(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 2, path, disk)
	if r := w.quickRun().do(t.Context(), all()); r.err != nil {
		t.Fatal(r.err)
	}
	var archives []string
	for _, key := range w.store.Keys() {
		if !strings.HasPrefix(key, layout.Manifests) {
			archives = append(archives, key)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	told := &verdicts{}
	v := &workflow.Verifier{
		Store: rot{w.store, archives[0], 8_000_000}, Bucket: bucket, Depth: workflow.Whole,
		Report: stopping{told, func() { cancel(enough) }},
	}
	_, err := v.Verify(ctx, workflow.VerifySubject{Keys: archives})
	if !errors.Is(err, enough) || !errors.Is(err, workflow.ErrDifferent) || len(told.verified) != 1 {
		t.Errorf("%v, %d verdicts", err, len(told.verified))
	}
}

// stopping ends the run with the first verdict.
type stopping struct {
	*verdicts
	stop func()
}

func (s stopping) Verified(a workflow.ArchiveVerdict) {
	s.verdicts.Verified(a)
	s.stop()
}
