package s3

// NamedRegion is the bucket's region as the store itself has told it, "" as long
// as it has not: Amazon S3 names it in most of its answers, other stores seldom.
func (s *Store) NamedRegion() string {
	if seen := s.seen.Load(); seen != nil {
		return *seen
	}
	return ""
}
