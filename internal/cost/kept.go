package cost

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/words"
)

// ArchiveCommand moves one snapshot to EBS Snapshots Archive, which migrate does not
// do (AWS CLI Command Reference, "ec2 modify-snapshot-tier").
func ArchiveCommand(region string, id snapshot.ID) string {
	return fmt.Sprintf("aws ec2 modify-snapshot-tier --region %s --storage-tier archive --snapshot-id %s", hint.Quote(region), hint.Quote(string(id)))
}

// TooSoon tells whether no move to S3 can pay back within the months of Payback,
// since both copies are paid for until then.
func (r Report) TooSoon() bool {
	const days = 30
	return r.Payback > 0 && r.Payback*days <= r.Overlap
}

// kept says why a plan moves nothing of a volume, of which so many snapshots are
// tagged already: for want of what in its class, and what would save in others.
func (r Report) kept(v Volume, p Plan, tagged int) Kept {
	k := Kept{Account: v.Account, Region: v.Region, Volume: v.ID, Why: v.Why}
	switch {
	case v.Why != "":
		return k
	case tagged > 0:
		k.Why = "those that pay back are tagged already"
		return k
	}
	var why []string
	if against := r.against(v, p.Class); against != "" {
		why = append(why, against)
	}
	if own := bestOf(v.Options, p.migrates); own >= 0 {
		o := v.Options[own]
		why = append(why, fmt.Sprintf("%s would save %s a month", o.Class.Name(), r.Currency.Format(o.Saving.Estimate)))
	}
	if v.Best >= 0 && v.Options[v.Best].Class == EBSArchive {
		o := v.Options[v.Best]
		for _, s := range v.Moved(o) {
			k.Archive = append(k.Archive, s.ID)
		}
		why = append(why, fmt.Sprintf("EBS Snapshots Archive would save %s a month, but migrate does not archive snapshots: %s",
			r.Currency.Format(o.Saving.Estimate), ArchiveCommand(v.Region, k.Archive[0])))
	}
	k.Why = strings.Join(why, "; ")
	return k
}

// against says what is against moving a volume to a class; of none, to any of S3,
// which is nothing where none was looked at.
func (r Report) against(v Volume, c Class) string {
	to := cmp.Or(c.Name(), "S3")
	o := v.find(c, FullCopies, ScopeAll)
	s3 := func(c Class) bool { return c != EBSArchive }
	switch {
	case c == "" && !slices.ContainsFunc(v.Unpriced, s3) && !slices.ContainsFunc(v.Options, func(o Option) bool { return s3(o.Class) }):
		return ""
	case slices.Contains(v.Unpriced, c):
		return fmt.Sprintf("no price of %s in %s", to, v.Region)
	case c != "" && o == nil:
		return to + " is none of the classes that were looked at"
	case r.TooSoon():
		return fmt.Sprintf("no move to S3 pays back within %s while both copies are paid for %s", words.Count(r.Payback, "month"), words.Count(r.Overlap, "day"))
	case r.Payback > 0 && (o == nil || o.Saving.Estimate > 0):
		return fmt.Sprintf("moving them to %s does not pay back within %s", to, words.Count(r.Payback, "month"))
	}
	nothing := fmt.Sprintf("moving them to %s saves nothing", to)
	if c == "" && len(v.Unpriced) > 0 {
		nothing += ", at the prices that are known"
	}
	return nothing
}
