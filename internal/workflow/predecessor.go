package workflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// probes is how many keys are asked for at once.
const probes = 16

// firstParts are the names of partitions that are asked for where the bucket may
// not be listed: a disk that was archived has one of these.
var firstParts = [...]string{"", "1", "p1", "2", "p2"}

// maxPart is the highest number of a partition that is asked for: as many as a GPT
// has.
const maxPart = 128

// trace is an object under a key as the predecessor makes them.
type trace struct {
	layout.PredecessorKey
	info objstore.Info
}

func (t trace) run() string { return t.info.Metadata[layout.MetaRun] }

func (t trace) coding() coding { return coding{t.Codec, t.Encrypted, t.Kind} }

// predecessors are the archives that the predecessor has left of a snapshot.
func (l shelves) predecessors(ctx context.Context, s snapshot.Snapshot) (*shelf, error) {
	found, err := l.listed(ctx, s)
	if errors.Is(err, objstore.ErrForbidden) {
		found, err = l.probed(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	sh, theirs := &shelf{}, []trace(nil)
	for _, t := range found {
		if t.run() == "" {
			theirs = append(theirs, t)
			continue
		}
		sh.others = append(sh.others, t.info.Key)
		sh.notes = append(sh.notes, fmt.Sprintf("s3://%s/%s was left unfinished by run %s, and is not looked at", l.bucket, t.info.Key, t.run()))
	}
	if len(theirs) == 0 {
		return nil, l.nothing(ctx, s)
	}
	meant := slices.MaxFunc(theirs, func(a, b trace) int {
		return cmp.Or(l.prefer.fit(a.coding())-l.prefer.fit(b.coding()), a.info.Modified.Compare(b.info.Modified))
	})
	sh.coding = meant.coding()
	var set []trace
	for _, t := range theirs {
		if t.coding() == sh.coding {
			set = append(set, t)
		} else {
			sh.others = append(sh.others, t.info.Key)
		}
	}
	l.stand(sh, set)
	return sh, nil
}

// stand takes the archives of a set onto the shelf. Of several under one partition,
// from machines in different zones, the newest is meant.
func (l shelves) stand(sh *shelf, set []trace) {
	at := map[layout.Part]int{}
	for _, t := range set {
		a := archived{key: t.info.Key, info: t.info, kind: t.Kind, part: t.Part(), codec: t.Codec, encrypted: t.Encrypted}
		i, there := at[a.part]
		switch {
		case !there:
			at[a.part] = len(sh.archives)
			sh.archives = append(sh.archives, a)
			continue
		case a.info.Modified.After(sh.archives[i].info.Modified):
			sh.archives[i], a = a, sh.archives[i]
		}
		sh.others = append(sh.others, a.key)
		sh.notes = append(sh.notes, fmt.Sprintf("s3://%s/%s is older than another archive of the same, and is not looked at", l.bucket, a.key))
	}
	slices.SortFunc(sh.archives, func(a, b archived) int { return int(a.part) - int(b.part) })
}

// listed finds the objects in the list of the volume's.
func (l shelves) listed(ctx context.Context, s snapshot.Snapshot) ([]trace, error) {
	var keys []string
	for info, err := range l.store.List(ctx, string(s.VolumeID)+"/") {
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s/: %w", l.bucket, s.VolumeID, err)
		}
		if _, ok := layout.ParsePredecessorKey(info.Key, s); ok {
			keys = append(keys, info.Key)
		}
	}
	found, err := l.there(ctx, s, keys)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if !slices.ContainsFunc(found, func(t trace) bool { return t.info.Key == key }) {
			return nil, hint.Wrap(fmt.Errorf("s3://%s/%s is in the bucket's list, and cannot be looked at: %w", l.bucket, key, objstore.ErrNotExist),
				"was it deleted just now? else s3:GetObject is needed")
		}
	}
	return found, nil
}

// probed asks for keys one by one: first in every zone and coding, then, where one
// was found, for the other partitions.
func (l shelves) probed(ctx context.Context, s snapshot.Snapshot) ([]trace, error) {
	var try []string
	for _, c := range l.prefer.codings() {
		for _, part := range firstParts {
			if c.kind == layout.Image && part != "" {
				continue
			}
			try = append(try, layout.PredecessorKeys(s, layout.PredecessorKey{Partition: part, Kind: c.kind, Codec: c.codec, Encrypted: c.encrypted})...)
		}
	}
	found, err := l.there(ctx, s, try)
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, key := range try {
		asked[key] = true
	}
	try = nil
	for _, t := range found {
		k := t.PredecessorKey
		if k.Partition == "" {
			continue
		}
		prefix := strings.TrimRight(k.Partition, "0123456789")
		for n := range maxPart {
			k.Partition = prefix + strconv.Itoa(n+1)
			if key := k.String(); !asked[key] {
				asked[key] = true
				try = append(try, key)
			}
		}
	}
	more, err := l.there(ctx, s, try)
	return append(found, more...), err
}

// there finds out which of the keys stand, in the order of the keys.
func (l shelves) there(ctx context.Context, s snapshot.Snapshot, keys []string) ([]trace, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stands := make([]*objstore.Info, len(keys))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(probes, len(keys)) {
		wg.Go(func() {
			for i := range next {
				info, err := l.store.Stat(ctx, keys[i])
				switch {
				case err == nil:
					info.Key = keys[i]
					stands[i] = &info
				case !errors.Is(err, objstore.ErrNotExist):
					fail(fmt.Errorf("look for s3://%s/%s: %w", l.bucket, keys[i], err))
				}
			}
		})
	}
	for i := range keys {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var found []trace
	for i, info := range stands {
		if info == nil {
			continue
		}
		if k, ok := layout.ParsePredecessorKey(keys[i], s); ok {
			found = append(found, trace{k, *info})
		}
	}
	return found, nil
}

// nothingError is that of a snapshot without archives that could be read.
type nothingError struct{ error }

// nothing is the error of a snapshot without archives, or with some that a run of
// ours did not finish.
func (l shelves) nothing(ctx context.Context, s snapshot.Snapshot) error {
	for _, c := range l.prefer.codings() {
		info, err := l.first(ctx, s, c)
		if err != nil {
			return err
		}
		if run := info.Metadata[layout.MetaRun]; run != "" {
			return hint.Wrap(nothingError{fmt.Errorf("s3://%s/%s was left unfinished by run %s: the snapshot has no record", l.bucket, info.Key, run)},
				"migrate the snapshot again, which completes or replaces it")
		}
	}
	record := layout.Name{Snapshot: s, Kind: layout.Image, Codec: "CODEC"}.SnapshotRecordKey()
	record = strings.Replace(record, ".image.", ".(image|files).", 1)
	old := layout.PredecessorKey{Volume: s.VolumeID, Snapshot: s.ID, Start: s.Start.UTC(), Description: s.Description, Kind: "(img|tar)", Codec: "CODEC"}.String()
	stem := strings.TrimSuffix(old, ".(img|tar).CODEC")
	return hint.Wrap(nothingError{fmt.Errorf("no archive of %s is in s3://%s, or none that may be read; looked for %s and, in every time zone, %s[.PARTITION|.pPARTITION].(img|tar).CODEC[.gpg], with CODEC lz4 and zstd",
		s.ID, l.bucket, strings.TrimSuffix(record, ".json")+"[.gpg].json", stem)},
		"is it another bucket, or was the snapshot never migrated? s3:GetObject is needed, and with s3:ListBucket missing and forbidden objects can be told apart")
}
