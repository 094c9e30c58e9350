package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// Validate proves the archives of the subject's snapshots against them, and returns
// what came of it, as Migrate does. A snapshot whose archives differ is a failure
// for which errors.Is tells ErrDifferent; its differences were reported one by one.
func (m *Migrator) Validate(ctx context.Context, sub Subject) (Summary, error) {
	listed, err := m.count(ctx, sub, catalog.Migrated)
	if err != nil {
		return Summary{}, err
	}
	if listed == 0 {
		return Summary{}, m.nothing(catalog.Migrated)
	}
	sum, err := m.runAll(ctx, sub, m.validation())
	sum.Listed = listed
	return sum, err
}

// count is how many snapshots there are to be worked on.
func (m *Migrator) count(ctx context.Context, sub Subject, value string) (n int, err error) {
	for _, err := range m.Catalog.Snapshots(ctx, m.filter(sub, value)) {
		if err != nil {
			return 0, fmt.Errorf("list snapshots: %w", err)
		}
		if n++; sub.One {
			break
		}
	}
	return n, nil
}

func (m *Migrator) validation() task {
	return task{
		from: catalog.Migrated, to: catalog.Validating, done: catalog.Validated, usable: readable,
		run: func(j *job, ctx context.Context) error { return j.validate(ctx) },
	}
}

// validate proves the archives of the snapshot. The volume that they were just
// written from serves, where there still is one.
func (j *job) validate(ctx context.Context) error {
	j.task.Stage("looking up")
	l := shelves{j.m.Store, j.m.Bucket, j.m.Prefer}
	sh, err := l.find(ctx, j.s)
	if err != nil {
		return err
	}
	for _, note := range sh.notes {
		j.m.Report.Note(j.s.ID, note)
	}
	var count atomic.Int64
	err = j.compare(ctx, sh, &count)
	j.res.Differences = count.Load()
	if j.res.Differences > 0 {
		different := &DifferentError{What: string(j.s.ID) + " and its archives", Count: j.res.Differences}
		if err != nil {
			return hint.Wrap(fmt.Errorf("%w; and not all could be looked at: %w", different, err), hint.Of(err))
		}
		return hint.Wrap(different, "keep the snapshot; migrate it again with --overwrite, and validate that")
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

// opener finds out whether archives can be read, before anything that costs money
// is done.
type opener struct {
	store  objstore.Store
	bucket string
	gpg    *encrypt.GPG
	noGPG  error // why there is no gpg
	keys   []*encrypt.SessionKey

	pricing Pricing // of a thaw; may be zero
}

func (m *Migrator) opener() opener {
	return opener{m.Store, m.Bucket, m.GPG, m.NoGPG, m.SessionKeys, m.Pricing}
}

// open finds the keys of all archives on the shelf. Its error names each object
// that cannot be read, and why.
func (o opener) open(ctx context.Context, sh *shelf, note func(string)) error {
	var errs []error
	for i := range sh.archives {
		if err := o.openOne(ctx, &sh.archives[i], note); err != nil {
			if ctx.Err() != nil {
				return err
			}
			errs = append(errs, err)
		}
	}
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	var texts, next []string
	for _, err := range errs {
		texts = append(texts, oneLine(err))
		if h := hint.Of(err); h != "" && !slices.Contains(next, h) {
			next = append(next, h)
		}
	}
	return hint.Wrap(errors.New(strings.Join(texts, "; ")), strings.Join(next, "; "))
}

func (o opener) openOne(ctx context.Context, a *archived, note func(string)) error {
	if err := a.info.Readable(); err != nil {
		return o.thaw(*a, err)
	}
	if !a.encrypted {
		return nil
	}
	if o.gpg == nil {
		return hint.Wrap(fmt.Errorf("s3://%s/%s is encrypted: %w", o.bucket, a.key, o.noGPG), hint.Of(o.noGPG))
	}
	var err, notArchive error
	a.opens, notArchive = o.choose(ctx, a.key)
	if a.record == nil {
		return notArchive
	}
	a.opensEntries, err = o.choose(ctx, a.entries.Key)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case notArchive != nil && (err != nil || a.opensEntries != nil):
		return notArchive
	case notArchive != nil, err != nil && a.opens == nil:
		// The private key that is at hand opens one of the two, and both were made for
		// it: the other may be damaged where it tells of its keys. Reading it will show.
		note(fmt.Sprintf("s3://%s/%s does not open with the key that opens what belongs to it: %s", o.bucket, a.key, oneLine(errors.Join(notArchive, err))))
		return nil
	}
	if a.opens != nil && (errors.Is(err, encrypt.ErrNoKey) || errors.Is(err, encrypt.ErrWrongKey) || errors.Is(err, encrypt.ErrLocked)) {
		// Who has the session key of the archive alone can read the archive all the same.
		a.sealed = true
		note(fmt.Sprintf("the entries of s3://%s/%s cannot be decrypted without their own session key: the archive is compared without them, and they are compared with their hash in the record", o.bucket, a.key))
		return nil
	}
	return err
}

// probeHead is how much of an encrypted object is read to find its key.
const probeHead = 512 << 10

func (o opener) choose(ctx context.Context, key string) (_ *encrypt.SessionKey, err error) {
	fail := func(err error) error { return fmt.Errorf("s3://%s/%s: %w", o.bucket, key, err) }
	r, err := o.store.Open(ctx, key, objstore.Range{Len: probeHead})
	if err != nil {
		return nil, fail(err)
	}
	defer r.Close()
	head, err := io.ReadAll(io.LimitReader(r, probeHead))
	if err != nil {
		return nil, fail(err)
	}
	session, err := o.gpg.Choose(ctx, head, o.keys)
	if errors.Is(err, encrypt.ErrDamaged) {
		return nil, nil // whoever reads it will find the same, and what else there is to say
	}
	if err != nil {
		// Who has the private key is told where the message is.
		here := "aws s3 cp " + hint.Quote("s3://"+o.bucket+"/"+key) + " - | head -c 524288"
		return nil, hint.Replace(fail(err), strings.Replace(hint.Of(err), "head -c 524288 OBJECT", here, 1))
	}
	return session, nil
}

// thaw is the error of an object that must be thawed first.
func (o opener) thaw(a archived, err error) error {
	if errors.Is(err, objstore.ErrThawing) {
		return hint.Wrap(fmt.Errorf("s3://%s/%s cannot be read: %w", o.bucket, a.key, err),
			"wait until the thaw is done, up to 48 hours: aws s3api head-object --bucket "+hint.Quote(o.bucket)+" --key "+hint.Quote(a.key)+" --query Restore")
	}
	price := "no price of that is known"
	if money, ok := o.pricing.Table.Thaw(o.pricing.BucketRegion, a.info.StorageClass, a.info.Size); ok {
		price = "about " + money.String() + " at the rate of a standard retrieval, bulk costs less"
	}
	days := `{"Days":7,"GlacierJobParameters":{"Tier":"Bulk"}}`
	if !objstore.Cold(a.info.StorageClass) { // INTELLIGENT_TIERING moves it back for good (S3 API reference, RestoreObject)
		days, price = `{"GlacierJobParameters":{"Tier":"Bulk"}}`, "free of charge"
	}
	return hint.Wrap(fmt.Errorf("s3://%s/%s (%s) cannot be read: %w", o.bucket, a.key, sizeText(a.info.Size), err),
		"thaw it first ("+price+"): aws s3api restore-object --bucket "+hint.Quote(o.bucket)+" --key "+hint.Quote(a.key)+
			" --restore-request '"+days+"'")
}

// sizeText is a size for a person: "1.5 GiB".
func sizeText(n int64) string {
	unit, name := int64(1), "bytes"
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 10, "KiB"}, {1 << 20, "MiB"}, {1 << 30, "GiB"}} {
		if n >= u.size {
			unit, name = u.size, u.name
		}
	}
	if unit == 1 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", float64(n)/float64(unit), name)
}
