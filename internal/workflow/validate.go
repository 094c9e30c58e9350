package workflow

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// Validate proves the archives of the subject's snapshots against them, and returns
// what came of it, as Migrate does. A snapshot whose archives differ is a failure
// for which errors.Is tells ErrDifferent; its differences were reported one by one.
func (m *Migrator) Validate(ctx context.Context, sub Subject) (Summary, error) {
	v := m.validations()
	v.lookForKept(ctx)
	totals, err := v.totals(ctx, sub)
	if err != nil {
		return Summary{}, err
	}
	all := totals.Snapshots + totals.Refused
	if all == 0 {
		return Summary{}, m.nothing(catalog.Migrated)
	}
	m.Report.Cost(totals)
	sum, err := m.runAll(ctx, sub, v.task())
	sum.Listed = all
	return sum, err
}

// validate proves the archives of the snapshot that find finds. The volume that they
// were just written from serves, where there still is one.
func (j *job) validate(ctx context.Context, find func(context.Context, snapshot.Snapshot) (*shelf, error)) error {
	j.task.Stage("looking up")
	sh, err := find(ctx, j.s)
	if err != nil {
		return err
	}
	if err := j.m.shelves().unrecorded(ctx, j.s, sh); err != nil {
		return err
	}
	for _, note := range sh.notes {
		j.m.Report.Note(j.s.ID, note)
	}
	j.res.Others = sh.others
	var count atomic.Int64
	err = j.compare(ctx, sh, &count)
	j.res.Differences = count.Load()
	if j.res.Differences > 0 {
		different := &DifferentError{What: string(j.s.ID) + " and its archives", Count: j.res.Differences}
		if err != nil {
			return hint.Wrap(fmt.Errorf("%w; and not all could be looked at: %w", different, err), hint.Of(err))
		}
		return hint.Wrap(different, "keep the snapshot; make these archives again, and validate them: "+j.m.again(j.s, sh))
	}
	if err != nil {
		return err
	}
	j.res.Unproven = append(j.res.Unproven, sh.unarchived()...)
	if sh.record == nil && len(sh.archives) > 0 && sh.archives[0].kind != "img" {
		j.res.Unproven = append(j.res.Unproven, "the archive is the predecessor's: fractions of a second, extended attributes, ACLs, capabilities, holes, and which devices and fifos are hard links of each other, are not in it")
	}
	return nil
}

// compare counts the differences that it reports.
func (j *job) compare(ctx context.Context, sh *shelf, count *atomic.Int64) error {
	report := func(d Difference) {
		count.Add(1)
		j.m.Report.Difference(d)
	}
	for _, d := range sh.wrong {
		report(d)
	}
	if err := j.m.opener().open(ctx, sh, func(text string) { j.m.Report.Note(j.s.ID, text) }); err != nil {
		return err
	}
	stored := int64(0)
	// The migration before, if there was one, has told of its archives in these.
	j.res.Keys, j.res.Stored, j.res.Plain, j.res.Entries = nil, 0, 0, 0
	for _, a := range sh.archives {
		j.res.Keys = append(j.res.Keys, a.key)
		j.res.Stored += a.info.Size
		stored += a.info.Size
		if a.record != nil {
			j.res.Plain += a.record.PlainSize
		}
	}
	j.task.Total(stored)
	switch {
	case len(sh.archives) > 0:
		return j.prove(ctx, sh, report)
	case sh.record != nil && count.Load() == 0:
		j.m.Report.Note(j.s.ID, "the snapshot's disk had nothing to archive: only its table was compared")
		return j.prove(ctx, sh, report)
	}
	return nil
}

// prove compares the archives with the volume. What differs on a volume that was
// kept, and may have been written to since, is looked at again on a new one.
func (j *job) prove(ctx context.Context, sh *shelf, report func(Difference)) error {
	p := &proof{j: j, sh: sh, found: report}
	vol, release, err := j.volume(ctx, VolumeRequest{Reuse: true, Raw: p.rawParts()})
	if err != nil {
		return err
	}
	defer release()
	p.vol = vol
	if !vol.Reused() {
		return p.run(ctx)
	}
	j.m.Report.Note(j.s.ID, fmt.Sprintf("volume %s, which was kept, is read", vol.ID()))
	var differing atomic.Int64
	var other []Difference // that no volume has part in
	var mu sync.Mutex
	p.found = func(d Difference) {
		differing.Add(1)
		mu.Lock()
		defer mu.Unlock()
		if d.Between != BetweenSnapshot && len(other) < mostKept {
			other = append(other, d)
		}
	}
	if err := p.run(ctx); err != nil {
		vol.Keep()
		for _, d := range other {
			report(d)
		}
		return err
	}
	if differing.Load() == 0 {
		return nil
	}
	vol.Keep()
	release()
	j.m.Report.Note(j.s.ID, fmt.Sprintf("%d difference(s) were found on volume %s, which may have been written to since it was made: looking again on a new one", differing.Load(), vol.ID()))
	j.res.Entries = 0
	j.keep = false // the other stays, and has the folders where it would be mounted
	fresh, releaseFresh, err := j.newVolume(ctx, VolumeRequest{})
	if err != nil {
		return err
	}
	defer releaseFresh()
	again := &proof{j: j, sh: sh, vol: fresh, found: report}
	return again.run(ctx)
}

// mostKept is how many differences are held for the case that a comparison ends
// early.
const mostKept = 1000
