package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

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
