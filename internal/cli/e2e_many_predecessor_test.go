package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// predecessor stands in for snap-to-s3 0.6.1 as other processes see it: it claims
// with tag and id, waits, reads back, and then never looks again until it is done.
// It writes no owner, and one object under its own name.
func predecessor() {
	if err := precede(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "predecessor:", err)
		os.Exit(1)
	}
}

func precede(ctx context.Context) error {
	session, err := aws.Load(ctx, aws.Options{})
	if err != nil {
		return err
	}
	store, err := s3.New(session, testBucket, s3.Options{})
	if err != nil {
		return err
	}
	cat := ec2.NewCatalog(session)
	for empty := 0; empty < 3; {
		s, err := firstToMigrate(ctx, cat)
		switch {
		case err != nil:
			return err
		case s.ID == "":
			empty++
			time.Sleep(claimSettle())
			continue
		}
		if err := precedeOne(ctx, cat, store, s); err != nil {
			return err
		}
	}
	return nil
}

func firstToMigrate(ctx context.Context, cat catalog.Catalog) (snapshot.Snapshot, error) {
	var all []snapshot.Snapshot
	for s, err := range cat.Snapshots(ctx, catalog.Filter{Tag: "snap-to-s3", Value: "migrate"}) {
		if err != nil {
			return s, err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return snapshot.Snapshot{}, nil
	}
	return all[rand.IntN(len(all))], nil
}

func precedeOne(ctx context.Context, cat catalog.Catalog, store objstore.Store, s snapshot.Snapshot) error {
	id := strconv.FormatUint(uint64(rand.Uint32()), 10)
	claim := map[string]string{"snap-to-s3": "migrating", "snap-to-s3-id": id}
	if err := cat.SetTags(ctx, s.ID, claim); err != nil {
		return err
	}
	time.Sleep(claimSettle())
	for now, err := range cat.Snapshots(ctx, catalog.Filter{IDs: []snapshot.ID{s.ID}}) {
		if err != nil {
			return err
		}
		for key, want := range claim {
			if now.Tags[key] != want {
				return nil // somebody else's
			}
		}
	}
	key := string(s.VolumeID) + "/" + s.Start.UTC().Format("2006-01-02T15:04:05") + "+00:00 " + string(s.ID) + ".tar.lz4"
	w, err := store.Create(ctx, key, objstore.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte("a tar")); err != nil {
		return errors.Join(err, w.Abort(ctx))
	}
	if _, err := w.Commit(ctx); err != nil {
		return err
	}
	if err := cat.DeleteTags(ctx, s.ID, map[string]string{"snap-to-s3-id": id}); err != nil {
		return err
	}
	return cat.SetTags(ctx, s.ID, map[string]string{"snap-to-s3": "migrated"})
}
