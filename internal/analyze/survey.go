package analyze

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// place is one account in one region.
type place struct{ account, region string }

// survey is what EC2 told, of all that were asked.
type survey struct {
	log      *slog.Logger
	accounts []string                 // with any of which snapshots may be shared
	tag      string                   // whose values tell how far a move is
	found    map[ownedID]cost.Holding // without what a bill tells
	asked    map[place]Estate         // whose snapshots are all among found
	owned    map[place][]snapshot.Snapshot
	by       map[place]Asker
	none     map[string][]string   // regions without snapshots, by whose they are: "of account 111122223333"
	answers  map[string]int        // how often EC2 told an asker, by name, all that it was asked
	closed   map[string][]closedTo // askers, by name, that had no credentials
	denied   map[place]error       // where EC2 told the credentials of that account nothing, and why
	failed   map[string][]error    // what is in unasked, by the asker's name
	unasked  []error
	refused  []error // those of unasked whose asker was named, and told nothing anywhere
	notes    []string
}

func newSurvey(log *slog.Logger, tag string, accounts []string) *survey {
	return &survey{
		log: log, tag: tag, accounts: accounts, found: map[ownedID]cost.Holding{}, asked: map[place]Estate{},
		owned: map[place][]snapshot.Snapshot{}, by: map[place]Asker{}, none: map[string][]string{}, answers: map[string]int{},
		closed: map[string][]closedTo{}, denied: map[place]error{}, failed: map[string][]error{},
	}
}

// add takes what another survey, of another region, has found.
func (s *survey) add(o *survey) {
	maps.Copy(s.found, o.found)
	maps.Copy(s.asked, o.asked)
	maps.Copy(s.owned, o.owned)
	maps.Copy(s.by, o.by)
	maps.Copy(s.denied, o.denied)
	for name, n := range o.answers {
		s.answers[name] += n
	}
	for whose, regions := range o.none {
		s.none[whose] = append(s.none[whose], regions...)
	}
	for name, errs := range o.failed {
		s.failed[name] = append(s.failed[name], errs...)
	}
	s.unasked = append(s.unasked, o.unasked...)
	s.notes = append(s.notes, o.notes...)
	for name, regions := range o.closed {
		s.closed[name] = append(s.closed[name], regions...)
	}
}

// look takes what an asker was told of the snapshots of a place, and asks for the
// rest of what there is to know of them.
func (s *survey) look(ctx context.Context, by Asker, e Estate, at place, owned []OwnedSnapshot) {
	if s.asked[at] != nil {
		return // others asked for the same ones
	}
	if len(owned) == 0 {
		whose := "of account " + at.account
		if at.account == "" {
			whose = "with " + by.Name
		}
		s.none[whose] = append(s.none[whose], at.region)
	}
	if at.account == "" {
		return
	}
	s.asked[at], s.by[at] = e, by
	volumes := s.volumes(ctx, e, at)
	shared := s.shared(ctx, e, at)
	holds := s.holds(ctx, e, at, owned)
	if ctx.Err() != nil {
		return
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
		work, hold := workOf(one.Tags, s.tag)
		if h.Work = work; hold != "" {
			h.Holds = append(h.Holds, hold)
		}
		s.found[keyOf(h)] = h
	}
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

func (s *survey) shared(ctx context.Context, e Estate, at place) map[snapshot.ID]bool {
	others := slices.DeleteFunc(slices.Clone(s.accounts), func(a string) bool { return a == at.account })
	shared, err := e.Shared(ctx, others)
	if err != nil {
		s.note(at, "which snapshots are shared is not known", err)
	}
	return shared
}

func (s *survey) holds(ctx context.Context, e Estate, at place, owned []OwnedSnapshot) workflow.Holds {
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

func spokenHolds(holds []workflow.Hold) []string {
	var all []string
	for _, h := range holds {
		switch h.Kind {
		case workflow.HoldImage:
			all = append(all, h.By+" uses it")
		case workflow.HoldLock:
			all = append(all, "locked: "+h.By)
		case workflow.HoldBackup:
			all = append(all, "AWS Backup")
		case workflow.HoldLifecycle:
			all = append(all, "Data Lifecycle Manager: "+h.By)
		default:
			all = append(all, string(h.Kind)+" "+h.By)
		}
	}
	return all
}

// exact are the spans of all volumes that lists of blocks could be read of. Where
// they could not, estimates stand, and a note says so.
func (s *survey) exact(ctx context.Context) (map[cost.VolumeKey][]cost.Span, error) {
	spans := map[cost.VolumeKey][]cost.Span{}
	for _, at := range s.places() {
		by := s.by[at]
		if by.Exact == nil {
			continue
		}
		sizes, err := by.Exact(ctx, at.region, s.owned[at])
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, workflow.ErrTooDear):
			return nil, err
		case err != nil:
			err = fmt.Errorf("sizes in %s are estimates: %w", at.region, err)
			s.unasked = append(s.unasked, err)
			s.log.Warn("blocks could not be listed; sizes are estimates", "region", at.region, "err", err, "hint", hint.Of(err))
		}
		for volume, of := range sizes.Spans {
			spans[cost.VolumeKey{Account: at.account, Region: at.region, ID: volume}] = of
		}
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
