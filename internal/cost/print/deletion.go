package print

import (
	"fmt"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/words"
)

// Deletable says what deleting the snapshots saves that are validated; empty where
// there are none.
func Deletable(r cost.Report) string {
	d := r.Deletable
	are, them := "are", "them"
	if d.Snapshots == 1 {
		are, them = "is", "it"
	}
	validated := fmt.Sprintf("%s %s validated and ", words.Count(d.Snapshots, "snapshot"), are)
	switch {
	case d.Snapshots == 0:
		return ""
	case d.NoSaving:
		return validated + fmt.Sprintf("not deleted: what deleting %s saves is not known", them)
	case d.Saving.High == 0:
		return validated + fmt.Sprintf("not deleted: by these figures deleting %s saves nothing", them)
	}
	return validated + fmt.Sprintf("still paid for: deleting %s saves %s%s a month", them, roughly(d.Saving.Exact(), d.Saving.Low == d.Saving.Estimate), Amount(r.Currency, d.Saving))
}

// leftToMove tells whether a snapshot could be moved, or none was moved before.
func leftToMove(r cost.Report) bool {
	moved := false
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			for _, s := range v.Snapshots {
				if s.Movable || v.Unknown != "" {
					return true
				}
				moved = moved || s.Work == cost.WorkMigrated || s.Work == cost.WorkValidated
			}
		}
	}
	return !moved
}

// workMark is how far the move of a snapshot is, for a person; empty where there
// is nothing to say.
func workMark(s cost.Snapshot) string {
	switch {
	case s.Work == cost.WorkPlanned:
		return "to be migrated"
	case s.Work == cost.WorkMigrated:
		return "migrated"
	case s.Deletable():
		return "validated: can be deleted"
	case s.Work == cost.WorkValidated:
		return "validated"
	}
	return ""
}

// workName is the value of the tag.
func workName(w cost.Work) string {
	switch w {
	case cost.WorkPlanned:
		return "migrate"
	case cost.WorkMigrated:
		return "migrated"
	case cost.WorkValidated:
		return "validated"
	}
	return ""
}

func deletionRow(d cost.Deletion) DeletionRow {
	row := DeletionRow{Deletable: d.Snapshots}
	if d.Snapshots > 0 && !d.NoSaving {
		row.Saving, row.SavingLow, row.SavingHigh = &d.Saving.Estimate, &d.Saving.Low, &d.Saving.High
	}
	return row
}

// DeletionRow is what deleting validated snapshots saves, in the JSON of the total.
type DeletionRow struct {
	Deletable  int         `json:"deletable,omitempty"`
	Saving     *cost.Money `json:"deletable_saving,omitempty"` // nil: not known, as its bounds
	SavingLow  *cost.Money `json:"deletable_saving_low,omitempty"`
	SavingHigh *cost.Money `json:"deletable_saving_high,omitempty"`
}
