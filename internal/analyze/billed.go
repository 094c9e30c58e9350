package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/snapshot"
)

func byID(a, b cost.Holding) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
}

// ownedID is one snapshot. An id alone does not do: of eight digits, as they once
// were, two accounts or regions may have the same.
type ownedID struct {
	place
	id snapshot.ID
}

func keyOf(h cost.Holding) ownedID { return ownedID{place{h.Account, h.Region}, h.ID} }

// billed are the snapshots of bills, both tiers of one as one. One that is in one
// tier now and was in the other is billed for where it is.
func billed(u bill.Usage) []cost.Holding {
	at := map[ownedID]int{}
	var all []cost.Holding
	for _, s := range u.Snapshots {
		k := ownedID{place{s.Account, s.Region}, s.ID}
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
	h.Cost, h.Blended, h.NetCost = h.Cost.Plus(s.Cost), h.Blended.Plus(s.BlendedCost), h.NetCost.Plus(s.NetCost)
	if s.Tier == bill.Archive {
		h.ArchiveRate = s.Rate
	} else {
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
	for _, h := range holdings {
		accounts[h.Account] = true
	}
	find, seen := s.finder(accounts), make(map[ownedID]bool, len(holdings))
	all := slices.Clone(holdings)
	for i := range all {
		h := &all[i]
		at := place{h.Account, h.Region}
		switch f, ok := find(*h); {
		case ok:
			seen[keyOf(f)] = true
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
		case seen[keyOf(f)]:
			continue
		case !accounts[f.Account]:
			stray++
			continue
		case thereOn(f, u.NewestOf(f.Account, f.Region)) && !f.Archived:
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
		{stray, "in EC2 and of accounts that are not in the bill, so left out: %d of the snapshots"},
	} {
		if n.count > 0 {
			s.notes = append(s.notes, fmt.Sprintf(n.text, n.count))
		}
	}
	s.unaskedAccounts(unasked)
	return all
}

// finder finds what EC2 tells of a snapshot of a bill. A bill that names no account
// of usage has that of the payer: the snapshot may then be found in an account that
// the bill has nothing of.
func (s *survey) finder(inBill map[string]bool) func(cost.Holding) (cost.Holding, bool) {
	elsewhere := map[ownedID]cost.Holding{} // without their accounts
	for k, f := range s.found {
		if !inBill[k.account] {
			k.account = ""
			elsewhere[k] = f
		}
	}
	return func(h cost.Holding) (cost.Holding, bool) {
		f, ok := s.found[keyOf(h)]
		if !ok {
			f, ok = elsewhere[ownedID{place{"", h.Region}, h.ID}]
		}
		return f, ok
	}
}

// unaskedAccounts says whose snapshots EC2 did not tell of, and what it takes: the
// right where credentials of that account lack it, else such credentials.
func (s *survey) unaskedAccounts(n map[place]int) {
	for _, at := range slices.SortedFunc(maps.Keys(n), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.region, b.region))
	}) {
		next := "--profile or --role-arn names credentials of that account, which need ec2:DescribeSnapshots"
		if err := s.denied[at]; err != nil {
			next = err.Error()
		}
		of := "1 snapshot"
		if n[at] != 1 {
			of = fmt.Sprintf("%d snapshots", n[at])
		}
		s.notes = append(s.notes, fmt.Sprintf("EC2 did not tell of %s of account %s in %s: volumes, and what holds snapshots, are not known there (%s)", of, at.account, at.region, next))
	}
}

// described is a snapshot of a bill with what EC2 tells of it. What EC2 has is not
// gone, whatever the bill's last day says.
func described(h, f cost.Holding) cost.Holding {
	f.Partition, f.InBill, f.Billed, f.Archive, f.Average = h.Partition, h.InBill, h.Billed, h.Archive, h.Average
	f.Cost, f.Blended, f.NetCost, f.Rate, f.ArchiveRate = h.Cost, h.Blended, h.NetCost, h.Rate, h.ArchiveRate
	return f
}
