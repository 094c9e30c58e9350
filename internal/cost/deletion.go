package cost

// Work is how far the move of a snapshot is, as its tag tells.
type Work int

// What a tag can tell. A snapshot that is in somebody's hands is held.
const (
	WorkNone      Work = iota // nothing
	WorkPlanned               // it is to be migrated
	WorkMigrated              // its archive stands
	WorkValidated             // its archive was compared with it: the snapshot can be deleted
)

// Deletion is what deleting those snapshots does that were validated, are held by
// nothing and are still paid for. It is in no option: those stay in all of them.
type Deletion struct {
	Snapshots int
	Freed     Range
	Saving    MoneyRange // a month
	NoSaving  bool       // Freed and Saving leave something out for want of a price or a size
}

func (d Deletion) plus(o Deletion) Deletion {
	return Deletion{d.Snapshots + o.Snapshots, d.Freed.plus(o.Freed), d.Saving.plus(o.Saving), d.NoSaving || o.NoSaving}
}

// moved tells whether the snapshot has its archive already.
func (h Holding) moved() bool { return h.Work == WorkMigrated || h.Work == WorkValidated }

// Deletable tells whether the snapshot was validated and nothing but its deletion
// is left to do.
func (h Holding) Deletable() bool {
	return h.Work == WorkValidated && h.inChain() && len(h.Holds) == 0
}

// deletion is that of one volume: by the chain, what moving them would free if all
// others were held. What others hold of snapshots of no known volume is not known.
func (a *analysis) deletion(v Volume, c *chain) Deletion {
	var d Deletion
	var held []bool
	for _, s := range v.Snapshots {
		if s.inChain() {
			held = append(held, !s.Deletable())
			d.NoSaving = d.NoSaving || s.Full.High == 0 && !s.InBill && c.spans == nil
		}
		if s.Deletable() {
			d.Snapshots++
			d.Freed.High = add(d.Freed.High, s.Standard.High)
		}
	}
	if d.Snapshots == 0 {
		return Deletion{}
	}
	if v.ID != "" {
		of := *c
		of.held = held
		all := of.prefixes()
		d.Freed = all[len(all)-1].freed
	}
	rate, ok := a.rate(v.account(), snapshotItem)
	d.Saving, d.NoSaving = rate.downRange(d.Freed), d.NoSaving || !ok
	return d
}
