package analyze

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
)

// closedTo is a region that an asker had no credentials for.
type closedTo struct {
	region string
	err    error
}

// ask asks in one region with one set of credentials. What cannot be asked is
// said, and no error; an error is that ctx has ended.
func (s *survey) ask(ctx context.Context, by Asker, region string) error {
	e, account, err := by.Open(ctx, region)
	if err != nil && ctx.Err() == nil {
		s.closed[by.Name] = append(s.closed[by.Name], closedTo{region, err})
		return nil
	}
	var owned []OwnedSnapshot
	if err == nil {
		owned, err = collect(e.Owned(ctx))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	at := place{region: region}
	if len(owned) > 0 {
		at.account = owned[0].Account
	} else {
		at.account = account(ctx)
	}
	if err != nil {
		s.denied[at] = err
		s.not(by.Name, fmt.Errorf("EC2 was not asked in %s with %s: %w", region, by.Name, err))
		return nil
	}
	s.answers[by.Name]++
	s.look(ctx, by, e, at, owned)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for one, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

// not notes what an asker could not ask.
func (s *survey) not(name string, err error) {
	s.unasked = append(s.unasked, err)
	s.failed[name] = append(s.failed[name], err)
	s.log.Warn("the report goes on without", "err", err, "hint", hint.Of(err))
}

// tellClosed says once of who has credentials nowhere that they are missing, and of
// others where.
func (s *survey) tellClosed(regions int) {
	for _, name := range slices.Sorted(maps.Keys(s.closed)) {
		all := s.closed[name]
		if len(all) == regions {
			s.not(name, fmt.Errorf("EC2 was not asked with %s: %w", name, all[0].err))
			continue
		}
		for _, c := range all {
			s.not(name, fmt.Errorf("EC2 was not asked in %s with %s: %w", c.region, name, c.err))
		}
	}
}

// tellRefused finds the failures of those who were named, and were told nothing
// anywhere.
func (s *survey) tellRefused(all []Asker) {
	for _, by := range all {
		if by.Named && s.answers[by.Name] == 0 {
			s.refused = append(s.refused, s.failed[by.Name]...)
		}
	}
}

// barren says where there are no snapshots, and whose they would be.
func (s *survey) barren() []string {
	var all []string
	for _, whose := range slices.Sorted(maps.Keys(s.none)) {
		all = append(all, fmt.Sprintf("no snapshots in %s %s; --region names other regions", strings.Join(s.none[whose], ", "), whose))
	}
	return all
}
