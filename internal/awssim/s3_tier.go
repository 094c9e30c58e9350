package awssim

import (
	"fmt"
	"slices"
)

// readiness is what may change of an object while it stands.
type readiness struct {
	thaw *restore
	tier string
}

// SetArchiveTier plays what INTELLIGENT_TIERING does with an object that nobody has
// read for months: it moves it to "ARCHIVE_ACCESS" or "DEEP_ARCHIVE_ACCESS", from
// which it must be restored, or with "" back (S3 user guide, "How S3
// Intelligent-Tiering works").
func (s *Server) SetArchiveTier(bucket, key, tier string) error {
	if !slices.Contains([]string{"", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"}, tier) {
		return fmt.Errorf("there is no archive tier %q", tier)
	}
	s.s3.mu.Lock()
	defer s.s3.mu.Unlock()
	b, ok := s.s3.buckets[bucket]
	if !ok {
		return fmt.Errorf("there is no bucket %s", bucket)
	}
	o, ok := b.objects[key]
	if !ok || o.attributes.class != "INTELLIGENT_TIERING" {
		return fmt.Errorf("there is no object %s in INTELLIGENT_TIERING", key)
	}
	o.tier = tier
	return nil
}
