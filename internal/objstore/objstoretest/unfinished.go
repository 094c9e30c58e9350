package objstoretest

import (
	"slices"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/objstore"
)

// unfinished holds a store that can list and abort uploads against the contract of
// objstore.Uploads.
func unfinished(s *script) {
	store, ok := s.Store.(objstore.Uploads)
	if !ok {
		s.Fatal("the store cannot list uploads")
	}
	list := func(prefix string) (all []objstore.Unfinished) {
		s.Helper()
		for u, err := range store.Unfinished(s.Context(), prefix) {
			if err != nil {
				s.Fatalf("list the uploads of %q: %v", prefix, err)
			}
			if u.ID == "" || u.Begun.IsZero() {
				s.Errorf("listed: %+v", u)
			}
			all = append(all, u)
		}
		return all
	}
	keys := []string{s.key("a"), s.key("b & <ü> + 100 %"), s.key("c")}
	writers := map[string]objstore.Writer{}
	for _, key := range keys {
		w := s.create(key, objstore.CreateOptions{})
		s.write(w, s.bytes(2*s.PartSize+1))
		writers[key] = w
	}
	defer func() {
		for _, w := range writers {
			_ = w.Abort(s.Context()) // what is gone is gone
		}
	}()
	var got []string
	for _, u := range list(s.key("")) {
		got = append(got, u.Key)
	}
	if diff := cmp.Diff(keys, slices.Compact(got)); diff != "" {
		s.Errorf("listed (-want +got):\n%s", diff)
	}
	one := list(keys[1])
	if len(one) != 1 || one[0].Key != keys[1] {
		s.Fatalf("listed of one key: %+v", one)
	}
	for range 2 { // one that is gone is no error
		if err := store.AbortUpload(s.Context(), one[0].Key, one[0].ID); err != nil {
			s.Errorf("abort: %v", err)
		}
	}
	if left := list(keys[1]); len(left) > 0 {
		s.Errorf("listed after it was aborted: %+v", left)
	}
	if _, err := writers[keys[1]].Commit(s.Context()); err == nil {
		s.Error("an upload that was aborted is an object")
	}
	s.commit(writers[keys[2]])
	if left := list(keys[2]); len(left) > 0 {
		s.Errorf("listed after it was completed: %+v", left)
	}
	s.abort(writers[keys[0]])
	s.wantNoUploads()
}
