package cost

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// lack says why a volume can have no options, if so.
func (a *analysis) lack(v *Volume) {
	var untold, movable, moved bool
	for _, s := range v.Snapshots {
		untold, movable, moved = untold || s.untold(), movable || s.Movable, moved || s.moved()
	}
	rate, _ := a.knownRate(v.account(), snapshotItem)
	switch {
	case v.ID == "" && untold && a.o.Offline:
		v.notReckoned("EC2 was not asked of which volume they are; leave out --offline")
	case v.ID == "" && untold:
		v.notReckoned("EC2 did not tell of which volume they are, and the notes say why")
	case v.Sum.Snapshots == 0:
		v.Why = "none of them is there any more"
	case !movable && moved:
		v.Why = "none of them is left to be moved"
	case !movable:
		v.Why = "none of them can be moved"
	case v.ID == "":
		v.notReckoned("EC2 does not tell of which volume they are, as of copies")
	case rate == 0:
		a.missing[item{v.Region, snapshotItem}] = true
		v.notKnown(fmt.Sprintf("no price of EBS snapshots in %s is known; give --prices", v.Region))
	case v.anyEmpty():
		v.notReckoned("how much they hold is not known")
	case v.Sum.Monthly.High == 0:
		v.notReckoned("nothing is billed for them, or the bill lacks them")
	}
}

// anyEmpty tells whether there is a snapshot of which no size is known.
func (v *Volume) anyEmpty() bool {
	return slices.ContainsFunc(v.Snapshots, func(s Snapshot) bool { return s.inChain() && s.Full.High == 0 })
}

func (v *Volume) notReckoned(why string) { v.Why, v.Unknown = "not reckoned: "+why, why }

func (v *Volume) notKnown(why string) { v.Why, v.Unknown = "not known: "+why, why }

// lackPrices says which classes have no option, which is for want of a price.
func (a *analysis) lackPrices(v *Volume) {
	for _, c := range a.o.Classes {
		if v.find(c, FullCopies, ScopeAll) == nil {
			v.Unpriced = append(v.Unpriced, c)
		}
	}
	if len(v.Options) > 0 {
		return
	}
	stored := slices.ContainsFunc(v.Unpriced, func(c Class) bool {
		_, ok := a.knownRate(v.account(), c.item())
		return ok
	})
	what := "S3 prices of " + v.Region + " are known"
	switch {
	case stored: // but a request, or the volume to read from, has none
		what = "prices of all that moving takes in " + v.Region + " are known"
	case len(a.o.Classes) < len(Classes()):
		what = "price of " + ClassNames(v.Unpriced) + " in " + v.Region + " is known"
	}
	v.notKnown(fmt.Sprintf("no %s; give --prices", what))
}

// unreckoned are the volumes of which Unknown says something, by that.
func unreckoned(r Report) []Unreckoned {
	var all []Unreckoned
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			if v.Unknown == "" || v.Sum.Snapshots == 0 {
				continue
			}
			i := slices.IndexFunc(all, func(u Unreckoned) bool { return u.Why == v.Unknown })
			if i < 0 {
				i = len(all)
				all = append(all, Unreckoned{Why: v.Unknown})
			}
			all[i].Sum = all[i].Sum.plus(v.Sum)
		}
	}
	slices.SortStableFunc(all, func(x, y Unreckoned) int { return dearer(x.Sum, y.Sum) })
	return slices.Clip(all)
}

// Name is the class as AWS names it.
func (c Class) Name() string {
	if c == EBSArchive {
		return "EBS Snapshots Archive"
	}
	return string(c)
}

// ClassNames are the names of classes, with commas.
func ClassNames(classes []Class) string {
	all := make([]string, len(classes))
	for i, c := range classes {
		all[i] = c.Name()
	}
	return strings.Join(all, ", ")
}

// unknown is what no price is known for: each item, and in short by region.
func (a *analysis) unknown() ([]string, []NoPrices) {
	var all []string
	short := map[string]map[string]bool{}
	for i := range a.missing {
		all = append(all, i.words())
		if short[i.region] == nil {
			short[i.region] = map[string]bool{}
		}
		short[i.region][i.of()] = true
	}
	slices.Sort(all)
	var regions []NoPrices
	for _, region := range slices.Sorted(maps.Keys(short)) {
		regions = append(regions, NoPrices{region, slices.Sorted(maps.Keys(short[region]))})
	}
	return all, regions
}

// of is what an item is a price of, in short.
func (i item) of() string {
	kind, rest, _ := strings.Cut(i.name, ":")
	class, _, _ := strings.Cut(rest, "-")
	switch {
	case kind == "s3":
		return "S3 " + class
	case strings.HasPrefix(i.name, archiveItem):
		return EBSArchive.Name()
	}
	return strings.TrimSuffix(i.words(), " in "+i.region)
}
