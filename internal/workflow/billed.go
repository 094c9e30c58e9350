package workflow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/snapshot"
)

func byID(a, b cost.Holding) int { return cmp.Compare(a.ID, b.ID) }

// billed are the snapshots of bills, both tiers of one as one. One that is in one
// tier now and was in the other is billed for where it is.
func billed(u bill.Usage) []cost.Holding {
	type key struct {
		account, region string
		id              snapshot.ID
	}
	at := map[key]int{}
	var all []cost.Holding
	for _, s := range u.Snapshots {
		k := key{s.Account, s.Region, s.ID}
		i, ok := at[k]
		if !ok {
			i = len(all)
			at[k] = i
			all = append(all, cost.Holding{
				Partition: s.Partition, Account: s.Account, Region: s.Region, ID: s.ID, InBill: true, Gone: true,
			})
		}
		all[i] = withTier(all[i], s)
	}
	return all
}

func withTier(h cost.Holding, s bill.Snapshot) cost.Holding {
	h.Cost, h.NetCost = h.Cost.Plus(s.Cost), h.NetCost.Plus(s.NetCost)
	if s.Tier == bill.Standard {
		h.Rate = s.Rate
	}
	switch {
	case s.Gone && !h.Gone:
		return h // it is in the other tier
	case !s.Gone && h.Gone:
		h.Billed, h.Archive, h.Average, h.Gone = 0, 0, false, false // it was in the other
	}
	h.Average = h.Average || s.Average
	if s.Tier == bill.Archive {
		h.Archive = s.Bytes
	} else {
		h.Billed = s.Bytes
	}
	return h
}

// join adds what EC2 tells to what bills tell.
func (s *survey) join(holdings []cost.Holding, u bill.Usage) []cost.Holding {
	var lost, stray, newer, still int
	unasked, accounts := map[place]int{}, map[string]bool{}
	seen := make(map[snapshot.ID]bool, len(holdings))
	all := slices.Clone(holdings)
	for i := range all {
		h := &all[i]
		seen[h.ID], accounts[h.Account] = true, true
		at := place{h.Account, h.Region}
		switch f, ok := s.found[h.ID]; {
		case ok && f.Region == h.Region:
			*h = described(*h, f)
		case h.Gone:
		case s.asked[at] != nil:
			lost++
			h.Holds = append(h.Holds, "not in EC2 any more")
		default:
			unasked[at]++
		}
	}
	for _, f := range slices.SortedFunc(maps.Values(s.found), byID) {
		switch {
		case seen[f.ID]:
			continue
		case !accounts[f.Account]:
			stray++
			continue
		case thereOn(f, u.Newest) && !f.Archived:
			f.InBill = true
			still++
		default:
			newer++
		}
		all = append(all, f)
	}
	for _, n := range []struct {
		count int
		text  string
	}{
		{lost, "in the bill and not in EC2 any more, so deleted since or in the Recycle Bin: %d of the snapshots"},
		{still, "in EC2 and, on a day that they were there for, not in the bill, so taken to be billed for nothing: %d of the snapshots"},
		{newer, "in EC2 and not in the bill, which is older than they are: %d of the snapshots"},
		{stray, "of accounts that are not in the bill, and left out: %d snapshots in EC2"},
	} {
		if n.count > 0 {
			s.notes = append(s.notes, fmt.Sprintf(n.text, n.count))
		}
	}
	s.unaskedAccounts(unasked)
	return all
}

// unaskedAccounts says whose snapshots nobody was there to ask for.
func (s *survey) unaskedAccounts(n map[place]int) {
	for _, at := range slices.SortedFunc(maps.Keys(n), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.region, b.region))
	}) {
		s.notes = append(s.notes, fmt.Sprintf("EC2 did not tell of %d snapshots of account %s in %s: volumes, and what holds the snapshots, are not known of them "+
			"(--profile or --role-arn names credentials of that account)", n[at], at.account, at.region))
	}
}

// described is a snapshot of a bill with what EC2 tells of it. What EC2 has is not
// gone, whatever the bill's last day says.
func described(h, f cost.Holding) cost.Holding {
	f.Partition, f.InBill, f.Billed, f.Archive, f.Average = h.Partition, h.InBill, h.Billed, h.Archive, h.Average
	f.Cost, f.NetCost, f.Rate = h.Cost, h.NetCost, h.Rate
	return f
}
