package workflow_test

import (
	"testing"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/workflow"
)

// An archive that no record of its snapshot tells of is named beside the one that is
// compared, also where the bucket may not be listed.
func TestArchivesWithoutARecordAreNamed(t *testing.T) {
	t.Parallel()
	path, disk := noiseDisk(t, 2<<20)
	w := newWorld(t, 1, path, disk).migrated()
	name := w.name(first)
	name.Kind, name.Encrypted, name.Partition = layout.Tar, true, layout.Head
	info := objstore.Info{Metadata: map[string]string{layout.MetaRun: "20261123-101112-01234567"}}
	if _, err := putObject(t.Context(), w.store, name.ArchiveKey(), []byte("cut"), info, ""); err != nil {
		t.Fatal(err)
	}
	for what, store := range map[string]objstore.Store{"listed": w.store, "unlisted": &unlisted{Memory: w.store}} {
		r := w.quickRun(func(m *workflow.Migrator) { m.Store = store }).validate(t.Context(), named(first))
		if r.err != nil || len(r.report.finished) != 1 {
			t.Fatalf("%s: %v", what, r.err)
		}
		if got := r.report.finished[0].Others; len(got) != 1 || got[0] != name.ArchiveKey() || len(notesWith(r, "is in no record of the snapshot")) != 1 {
			t.Errorf("%s: others %q, notes %q", what, got, r.report.notes)
		}
	}
}
