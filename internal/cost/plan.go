package cost

import (
	"cmp"
	"time"

	"snap-to-s3/internal/snapshot"
)

// PlanOptions is what a plan depends on.
type PlanOptions struct {
	Class Class  // to move to; empty: the one that saves most. EBSArchive is no class that migrate moves to
	Tag   string // that migrate looks for; empty: snap-to-s3
}

// Plan is which snapshots are to be tagged so that migrate moves them. To make
// one changes nothing.
type Plan struct {
	Version  int      `json:"v"` // 1
	Tag      string   `json:"tag"`
	Value    string   `json:"value"` // what the tag is set to: migrate
	Class    Class    `json:"storage_class,omitempty"`
	Payback  int      `json:"payback_months,omitempty"` // 0: no limit
	Currency Currency `json:"currency"`                 // of all amounts
	Moves    []Move   `json:"moves"`
	Saving   Money    `json:"saving_monthly"` // of all moves
	OneTime  Money    `json:"one_time"`
	Tagged   int      `json:"tagged,omitempty"` // snapshots that would be moved, and have the tag already
	Kept     []Kept   `json:"kept"`
}

// Move is the snapshots of one volume that are to be moved, the oldest first.
type Move struct {
	Partition string            `json:"partition"`
	Account   string            `json:"account"`
	Region    string            `json:"region"`
	Volume    snapshot.VolumeID `json:"volume"`
	Snapshots []Planned         `json:"snapshots"`
	Tagged    int               `json:"tagged,omitempty"` // as of the plan; the amounts are of these, too
	Saving    Money             `json:"saving_monthly"`
	Least     Money             `json:"saving_monthly_least"` // what is saved at the least; negative where it may cost more
	OneTime   Money             `json:"one_time"`
	BreakEven int               `json:"break_even_month"`
}

// Planned is one snapshot of a plan.
type Planned struct {
	ID    snapshot.ID `json:"snapshot"`
	Start time.Time   `json:"start"`
	Full  int64       `json:"full_size"` // bytes, as estimated
}

// Kept is a volume of which nothing is to be moved.
type Kept struct {
	Account string            `json:"account"`
	Region  string            `json:"region"`
	Volume  snapshot.VolumeID `json:"volume,omitempty"` // absent: snapshots of unknown volumes
	Why     string            `json:"why"`
	// Archive are those that EBS Snapshots Archive is best for, where migrate moves
	// none: it does not archive snapshots. Why has the command for the first.
	Archive []snapshot.ID `json:"archive,omitempty"`
}

// Plan says which snapshots are to be moved, all to one class: of each volume
// those of its option in the class that saves most and pays back within the months
// that the report was made for; one that has the tag already is not named again.
// Volumes are in the order of the report.
func (r Report) Plan(o PlanOptions) Plan {
	p := Plan{Version: 1, Tag: o.Tag, Value: "migrate", Class: o.Class, Payback: r.Payback, Currency: cmp.Or(r.Currency, USD), Moves: []Move{}, Kept: []Kept{}}
	if p.Tag == "" {
		p.Tag = snapshot.UsualTag
	}
	if best := bestOf(r.Options, p.migrates); p.Class == "" && best >= 0 {
		p.Class = r.Options[best].Class
	}
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			m, moves := v.move(p)
			p.Tagged += m.Tagged
			if !moves {
				p.Kept = append(p.Kept, r.kept(v, p, m.Tagged))
				continue
			}
			p.Moves = append(p.Moves, m)
			p.Saving, p.OneTime = p.Saving.Plus(m.Saving), p.OneTime.Plus(m.OneTime)
		}
	}
	return p
}

// migrates tells whether migrate can do it, in time.
func (p Plan) migrates(o Option) bool {
	return o.Form == FullCopies && o.Class != EBSArchive && o.BreakEven > 0 && (p.Payback == 0 || o.BreakEven <= p.Payback)
}

// move is what is to be moved of a volume; false: nothing is, or all of it is tagged.
func (v Volume) move(p Plan) (Move, bool) {
	i := bestOf(v.Options, func(o Option) bool { return o.Class == p.Class && p.migrates(o) })
	if i < 0 {
		return Move{}, false
	}
	best := v.Options[i]
	m := Move{
		Partition: v.Partition, Account: v.Account, Region: v.Region, Volume: v.ID,
		Saving: best.Saving.Estimate, Least: best.Saving.Low, OneTime: best.OneTime.Total(), BreakEven: best.BreakEven,
	}
	for _, s := range v.Moved(best) {
		if s.Work == WorkPlanned {
			m.Tagged++
			continue
		}
		m.Snapshots = append(m.Snapshots, Planned{s.ID, s.Start.UTC(), s.Full.Estimate})
	}
	return m, len(m.Snapshots) > 0
}

// Moved are the snapshots that an option of the volume moves, the oldest first.
func (v Volume) Moved(o Option) []Snapshot {
	var moved []Snapshot
	for _, s := range v.Snapshots {
		if s.Movable && len(moved) < o.Snapshots {
			moved = append(moved, s)
		}
	}
	return moved
}
