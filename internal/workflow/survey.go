package workflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// place is one account in one region.
type place struct{ account, region string }

// survey is what EC2 told, of all that were asked.
type survey struct {
	log     *slog.Logger
	found   map[snapshot.ID]cost.Holding // without what a bill tells
	asked   map[place]Estate             // whose snapshots are all among found
	owned   map[place][]snapshot.Snapshot
	by      map[place]Asker
	answers int                   // how often EC2 told all that it was asked
	closed  map[string][]closedTo // askers, by name, that had no credentials
	unasked []error
	notes   []string
}

// closedTo is a region that an asker had no credentials for.
type closedTo struct {
	region string
	err    error
}

func newSurvey(log *slog.Logger) *survey {
	return &survey{
		log: log, found: map[snapshot.ID]cost.Holding{}, asked: map[place]Estate{},
		owned: map[place][]snapshot.Snapshot{}, by: map[place]Asker{}, closed: map[string][]closedTo{},
	}
}

// ask asks in one region with one set of credentials. What cannot be asked is
// said, and no error; an error is that ctx has ended.
func (s *survey) ask(ctx context.Context, by Asker, region string, accounts []string) error {
	e, account, err := by.Open(ctx, region)
	if err != nil && ctx.Err() == nil {
		s.closed[by.Name] = append(s.closed[by.Name], closedTo{region, err})
		return nil
	}
	if err == nil {
		err = s.look(ctx, by, e, place{account, region}, accounts)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		s.not(fmt.Errorf("EC2 was not asked in %s with %s: %w", region, by.Name, err))
	default:
		s.answers++
	}
	return nil
}

// not notes what could not be asked.
func (s *survey) not(err error) {
	s.unasked = append(s.unasked, err)
	s.log.Warn("the report goes on without", "err", err, "hint", hint.Of(err))
}

// add takes what another survey, of another region, has found.
func (s *survey) add(o *survey) {
	maps.Copy(s.found, o.found)
	maps.Copy(s.asked, o.asked)
	maps.Copy(s.owned, o.owned)
	maps.Copy(s.by, o.by)
	s.answers += o.answers
	s.unasked = append(s.unasked, o.unasked...)
	s.notes = append(s.notes, o.notes...)
	for name, regions := range o.closed {
		s.closed[name] = append(s.closed[name], regions...)
	}
}

// tellClosed says once of who has credentials nowhere that they are missing, and of
// others where.
func (s *survey) tellClosed(regions int) {
	for _, name := range slices.Sorted(maps.Keys(s.closed)) {
		all := s.closed[name]
		if len(all) == regions {
			s.not(fmt.Errorf("EC2 was not asked with %s: %w", name, all[0].err))
			continue
		}
		for _, c := range all {
			s.not(fmt.Errorf("EC2 was not asked in %s with %s: %w", c.region, name, c.err))
		}
	}
}

func (s *survey) look(ctx context.Context, by Asker, e Estate, at place, accounts []string) error {
	var owned []OwnedSnapshot
	for one, err := range e.Owned(ctx) {
		if err != nil {
			return err
		}
		owned = append(owned, one)
	}
	if len(owned) > 0 {
		at.account = owned[0].Account
	}
	if at.account == "" || s.asked[at] != nil {
		return nil // it has no snapshots, or others asked for the same ones
	}
	s.asked[at], s.by[at] = e, by
	volumes := s.volumes(ctx, e, at)
	shared := s.shared(ctx, e, at, accounts)
	holds := s.holds(ctx, e, at, owned)
	if ctx.Err() != nil {
		return nil
	}
	for _, one := range owned {
		s.owned[at] = append(s.owned[at], one.Snapshot)
		h := holdingOf(one, at.region)
		if volumes != nil {
			h.VolumeState = cost.VolumeDeleted
			if v, ok := volumes[one.VolumeID]; ok {
				h.VolumeState, h.VolumeName = cost.VolumeExists, v.Name
			}
		}
		h.Holds = append(h.Holds, spokenHolds(holds.Of[one.ID])...)
		if shared[one.ID] {
			h.Holds = append(h.Holds, "shared")
		}
		s.found[one.ID] = h
	}
	return nil
}

// volumes are those that exist; nil where that cannot be known.
func (s *survey) volumes(ctx context.Context, e Estate, at place) map[snapshot.VolumeID]EBSVolume {
	volumes := map[snapshot.VolumeID]EBSVolume{}
	for v, err := range e.Volumes(ctx) {
		if err != nil {
			s.note(at, "names of volumes, and which of them exist, are not known", err)
			return nil
		}
		volumes[v.ID] = v
	}
	return volumes
}

func (s *survey) shared(ctx context.Context, e Estate, at place, accounts []string) map[snapshot.ID]bool {
	others := slices.DeleteFunc(slices.Clone(accounts), func(a string) bool { return a == at.account })
	shared, err := e.Shared(ctx, others)
	if err != nil {
		s.note(at, "which snapshots are shared is not known", err)
	}
	return shared
}

func (s *survey) holds(ctx context.Context, e Estate, at place, owned []OwnedSnapshot) Holds {
	all := make([]snapshot.Snapshot, len(owned))
	for i := range owned {
		all[i] = owned[i].Snapshot
	}
	holds, err := e.Holds(ctx, all)
	if err != nil {
		s.note(at, "what holds snapshots is not known", err)
	}
	for _, line := range holds.Unknown {
		s.notes = append(s.notes, fmt.Sprintf("%s: what holds snapshots is not known of %s", at.region, line))
	}
	return holds
}

func (s *survey) note(at place, what string, err error) {
	s.notes = append(s.notes, fmt.Sprintf("%s: %s: %v", at.region, what, err))
}

// holdingOf is a snapshot as EC2 tells of it.
func holdingOf(s OwnedSnapshot, region string) cost.Holding {
	h := cost.Holding{
		Partition: PartitionOf(region), Account: s.Account, Region: region, ID: s.ID, Volume: s.VolumeID, VolumeSize: s.Size,
		Start: s.Start, Description: s.Description, FullSize: s.FullSize, Encrypted: s.Encrypted, Archived: s.Archived,
	}
	if s.Archived {
		h.Holds = append(h.Holds, "archive tier")
	}
	if s.State != snapshot.StateCompleted {
		h.Holds = append(h.Holds, "it is "+string(s.State))
	}
	return h
}

// PartitionOf is the partition that a region is of, by its name (AWS General
// Reference, "Amazon Resource Names").
func PartitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func spokenHolds(holds []Hold) []string {
	var all []string
	for _, h := range holds {
		switch h.Kind {
		case HoldImage:
			all = append(all, h.By+" uses it")
		case HoldLock:
			all = append(all, "locked: "+h.By)
		case HoldBackup:
			all = append(all, "AWS Backup")
		case HoldLifecycle:
			all = append(all, "Data Lifecycle Manager: "+h.By)
		default:
			all = append(all, string(h.Kind)+" "+h.By)
		}
	}
	return all
}

// workedOn says why a snapshot is in somebody's hands by its tags, or was; empty:
// it is not.
func workedOn(tags map[string]string, tag string) string {
	if value, ok := tags[tag]; ok {
		return fmt.Sprintf("it is tagged already: %s=%s", tag, value)
	}
	if st := catalog.StateOf(tags, tag); st.Owned {
		return "somebody works on it: it has an owner"
	}
	return ""
}

// exact are the spans of all volumes that lists of blocks could be read of. Where
// they could not, estimates stand, and a note says so.
func (s *survey) exact(ctx context.Context) (map[snapshot.VolumeID][]cost.Span, error) {
	spans := map[snapshot.VolumeID][]cost.Span{}
	for _, at := range s.places() {
		by := s.by[at]
		if by.Exact == nil {
			continue
		}
		sizes, err := by.Exact(ctx, at.region, s.owned[at])
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, ErrTooDear):
			return nil, err
		case err != nil:
			err = fmt.Errorf("sizes in %s are estimates: %w", at.region, err)
			s.unasked = append(s.unasked, err)
			s.log.Warn("blocks could not be listed; sizes are estimates", "region", at.region, "err", err, "hint", hint.Of(err))
		}
		maps.Copy(spans, sizes.Spans)
		for _, v := range sizes.Skipped {
			s.notes = append(s.notes, fmt.Sprintf("sizes of %s are estimates: %s", v.Volume, v.Why))
		}
	}
	return spans, nil
}

// places are those that were asked, in order.
func (s *survey) places() []place {
	return slices.SortedFunc(maps.Keys(s.asked), func(a, b place) int {
		return strings.Compare(a.region+" "+a.account, b.region+" "+b.account)
	})
}

// thereOn tells whether a snapshot was there for the whole of a day.
func thereOn(h cost.Holding, day time.Time) bool { return !day.IsZero() && h.Start.Before(day) }
