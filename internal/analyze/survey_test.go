package analyze

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/snapshot"
)

// The tags of a snapshot say how far its move is, or that it is in somebody's hands.
func TestWorkOf(t *testing.T) {
	t.Parallel()
	owner := catalog.Owner{Identity: catalog.Identity{Host: "ip-10-0-0-1", Boot: "b", Run: "0a1b2c3d"}, Renewed: time.Unix(1_790_000_000, 0)}.String()
	for name, c := range map[string]struct {
		tags map[string]string
		want cost.Work
		hold string
	}{
		"none":              {nil, cost.WorkNone, ""},
		"another tag":       {map[string]string{"snap-to-s3": "validated"}, cost.WorkNone, ""},
		"chosen":            {map[string]string{"t": "migrate"}, cost.WorkPlanned, ""},
		"moved":             {map[string]string{"t": "migrated"}, cost.WorkMigrated, ""},
		"validated":         {map[string]string{"t": "validated"}, cost.WorkValidated, ""},
		"claimed":           {map[string]string{"t": "migrating", "t-id": "17", "t-owner": owner}, cost.WorkNone, "migrating, on ip-10-0-0-1"},
		"claimed, combined": {map[string]string{"t": "validating 17 " + owner}, cost.WorkNone, "validating, on ip-10-0-0-1"},
		"nobody's":          {map[string]string{"t": "migrating", "t-id": "17"}, cost.WorkNone, "migrating"},
		"an owner":          {map[string]string{"t-owner": owner}, cost.WorkNone, "somebody works on it: it has an owner"},
		"a value of theirs": {map[string]string{"t": "keep"}, cost.WorkNone, "it is tagged already: t=keep"},
	} {
		if work, hold := workOf(c.tags, "t"); work != c.want || hold != c.hold {
			t.Errorf("%s: %d, %q; want %d, %q", name, work, hold, c.want, c.hold)
		}
	}
}

// What is moved already is not advised again, with a bill and without; what deleting
// it saves is said.
func TestWorkIsNotAdvisedAgain(t *testing.T) {
	t.Parallel()
	e := &estate{}
	u := bill.Usage{From: day(1), To: day(30), Newest: day(29), Currency: "USD"}
	for i, value := range []string{"validated", "migrated", "migrate", "migrating", ""} {
		s := owned(snapshot.ID("snap-0000000"+string(rune('1'+i))), day(i+1))
		s.FullSize = 100 << 30
		if value != "" {
			s.Tags = map[string]string{"t": value}
		}
		e.snapshots = append(e.snapshots, s)
		gib := int64(60)
		if i == 0 {
			gib = 100
		}
		u.Snapshots = append(u.Snapshots, inBill(s.ID, bill.Standard, gib, false))
	}
	a := analyzer(e.asker())
	a.Tag, a.Options.Classes = "t", []cost.Class{"DEEP_ARCHIVE"}
	live, err := a.Live(t.Context(), []string{"us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	billed, err := a.Bill(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Analysis{live, billed} {
		var movable []snapshot.ID
		for _, s := range r.Regions[0].Volumes[0].Snapshots {
			if s.Movable {
				movable = append(movable, s.ID)
			}
		}
		if want := []snapshot.ID{"snap-00000003", "snap-00000005"}; !slices.Equal(movable, want) {
			t.Errorf("movable are %v, want %v", movable, want)
		}
		if r.Deletable.Snapshots != 1 {
			t.Errorf("deletable: %+v", r.Deletable)
		}
	}
	if got := billed.Deletable.Saving; got != (cost.MoneyRange{Low: 3 * cost.Dollar, Estimate: 3 * cost.Dollar, High: 3 * cost.Dollar}) {
		t.Errorf("deleting the oldest frees the 60 GiB that the next has of its own: %+v", got)
	}
	p := billed.Plan(cost.PlanOptions{Tag: "t"})
	if len(p.Moves) != 1 || len(p.Moves[0].Snapshots) != 1 || p.Moves[0].Snapshots[0].ID != "snap-00000005" || p.Tagged != 1 {
		t.Errorf("plan: %+v", p)
	}
}

// estates is EC2 as one set of credentials of an account sees it.
func estates(account string, in map[string]*estate) Asker {
	return Asker{Name: account, Open: func(_ context.Context, region string) (Estate, func(context.Context) string, error) {
		e := in[region]
		if e == nil {
			e = &estate{}
		}
		return e, func(context.Context) string { return account }, nil
	}}
}

// twins is one id of a snapshot and of a volume, as ids of eight digits may repeat, in
// two accounts and regions: each has a name and a size of its own.
func twins(t *testing.T) ([]Asker, bill.Usage, map[place]int64) {
	t.Helper()
	u := bill.Usage{From: day(1), To: day(30), Newest: day(29), Currency: "USD"}
	sizes := map[place]int64{}
	var askers []Asker
	for i, account := range []string{"111122223333", "444455556666"} {
		in := map[string]*estate{}
		for j, region := range []string{"us-east-1", "us-west-2"} {
			gib := int64(10 + 2*i + j)
			s := owned("snap-0a1b2c3d", day(1))
			s.Account, s.VolumeID, s.FullSize = account, "vol-0a1b2c3d", gib<<30
			in[region] = &estate{snapshots: []OwnedSnapshot{s}, volumes: []EBSVolume{{ID: s.VolumeID, Name: account + " " + region}}}
			b := inBill(s.ID, bill.Standard, gib, false)
			b.Account, b.Region = account, region
			u.Snapshots = append(u.Snapshots, b)
			sizes[place{account, region}] = gib
		}
		a := estates(account, in)
		a.Exact = func(_ context.Context, region string, s []snapshot.Snapshot) (ExactSizes, error) {
			return ExactSizes{Spans: map[snapshot.VolumeID][]cost.Span{s[0].VolumeID: {{First: s[0].ID, Last: s[0].ID, Bytes: sizes[place{account, region}] << 30}}}}, nil
		}
		askers = append(askers, a)
	}
	return askers, u, sizes
}

func TestOneIDInSeveralPlaces(t *testing.T) {
	t.Parallel()
	askers, u, sizes := twins(t)
	check := func(what string, a *Analysis, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		got := map[place]int64{}
		for _, region := range a.Regions {
			for _, v := range region.Volumes {
				at := place{v.Account, v.Region}
				got[at] = v.Sum.Standard.Estimate >> 30
				if v.Name != at.account+" "+at.region || len(v.Snapshots) != 1 || v.ID != "vol-0a1b2c3d" {
					t.Errorf("%s: %v has %+v", what, at, v)
				}
			}
		}
		if diff := cmp.Diff(sizes, got, cmp.AllowUnexported(place{})); diff != "" {
			t.Errorf("%s: GiB of each (-want +got):\n%s", what, diff)
		}
	}
	a, err := analyzer(askers...).Bill(t.Context(), u)
	check("a bill and EC2", a, err)
	a, err = analyzer(askers...).Live(t.Context(), []string{"us-east-1", "us-west-2"})
	check("EC2", a, err)

	// Of an account that nobody can ask, another's snapshot of that id tells nothing.
	a, err = analyzer(askers[0]).Bill(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range a.Regions {
		for _, v := range region.Volumes {
			if known := v.ID != ""; known != (v.Account == "111122223333") || len(v.Snapshots) != 1 {
				t.Errorf("one account asked: %+v", v)
			}
		}
	}
}

// A bill without an account of usage names the payer; the snapshots are found all
// the same.
func TestBillOfThePayer(t *testing.T) {
	t.Parallel()
	e := &estate{snapshots: []OwnedSnapshot{owned("snap-00000001", day(1))}}
	u := bill.Usage{From: day(1), To: day(30), Newest: day(29), Currency: "USD", Snapshots: []bill.Snapshot{inBill("snap-00000001", bill.Standard, 50, false)}}
	u.Snapshots[0].Account = "999999999999"
	a, err := analyzer(e.asker()).Bill(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if r := a.Regions[0]; len(r.Volumes) != 1 || r.Volumes[0].ID != "vol-11111111" || !r.Volumes[0].Snapshots[0].Movable || r.Sum.Snapshots != 1 {
		t.Errorf("%+v", r)
	}
}

// A snapshot is older than the bill if it was there on the newest day that the bill
// has of its account and region: others' may be later.
func TestNewestDayOfEachAccount(t *testing.T) {
	t.Parallel()
	var askers []Asker
	u := bill.Usage{From: day(1), To: day(30), Newest: day(29), Currency: "USD"}
	for _, account := range []string{"111122223333", "444455556666"} {
		first, second := owned("snap-"+snapshot.ID(account[:8]), day(1)), owned("snap-"+snapshot.ID(account[:7]+"f"), day(27))
		first.Account, second.Account = account, account
		askers = append(askers, estates(account, map[string]*estate{"us-east-1": {snapshots: []OwnedSnapshot{first, second}}}))
		b := inBill(first.ID, bill.Standard, 50, false)
		b.Account = account
		u.Snapshots = append(u.Snapshots, b)
	}
	u.Areas = []bill.Area{
		{Partition: "aws", Account: "111122223333", Region: "us-east-1", Newest: day(26)},
		{Partition: "aws", Account: "444455556666", Region: "us-east-1", Newest: day(29)},
	}
	a, err := analyzer(askers...).Bill(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(a.Notes, "\n")
	for _, says := range []string{"billed for nothing: 1 of", "older than they are: 1 of"} {
		if !strings.Contains(notes, says) {
			t.Errorf("no note says %q: %s", says, notes)
		}
	}
}

// A month of both tiers at negotiated rates costs what the bill says.
func TestNegotiatedRatesOfBothTiers(t *testing.T) {
	t.Parallel()
	standard, archive := inBill("snap-00000001", bill.Standard, 100, false), inBill("snap-00000002", bill.Archive, 200, false)
	standard.Rate, standard.Cost = 40_000_000, 4*cost.Dollar
	archive.Rate, archive.Cost = 10_000_000, 2*cost.Dollar
	a, err := analyzer().Bill(t.Context(), bill.Usage{Currency: "USD", Snapshots: []bill.Snapshot{standard, archive}})
	if err != nil {
		t.Fatal(err)
	}
	if sum := a.Total; sum.Billed != 6*cost.Dollar || sum.Monthly.Estimate != sum.Billed || !sum.Monthly.Exact() {
		t.Errorf("%+v, want 6 dollars a month as billed", sum)
	}
}

// shut is an asker that is refused everything, of an account that says who it is or not.
func shut(name, account string, named bool) Asker {
	return Asker{Name: name, Named: named, Open: func(context.Context, string) (Estate, func(context.Context) string, error) {
		return &estate{denied: errors.New("access denied, ec2:DescribeSnapshots is needed")}, func(context.Context) string { return account }, nil
	}}
}

// locked is an asker whose credentials do not exist.
func locked(name string, named bool) Asker {
	return Asker{Name: name, Named: named, Open: func(context.Context, string) (Estate, func(context.Context) string, error) {
		return nil, nil, errors.New("no such profile")
	}}
}

// Of snapshots that EC2 does not tell of it is said what is missing: the right, where
// credentials of that account were there, else such credentials.
func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	u := bill.Usage{From: day(1), To: day(30), Newest: day(29), Currency: "USD", Snapshots: []bill.Snapshot{inBill("snap-00000001", bill.Standard, 50, false)}}
	for name, c := range map[string]struct {
		by          Asker
		says, never string
		count       int
	}{
		"the right":       {shut("a", "111122223333", false), "in us-east-1: volumes, and what holds snapshots, are not known there (access denied, ec2:DescribeSnapshots is needed)", "--role-arn", 1},
		"another account": {shut("a", "444455556666", false), "--profile or --role-arn names credentials of that account, which need ec2:DescribeSnapshots", "", 1},
		"nobody's":        {shut("a", "", false), "EC2 did not tell of 1 snapshot of account 111122223333", "", 1},
		"several":         {locked("a", false), "EC2 did not tell of 2 snapshots of account", "", 2},
	} {
		u := u
		if c.count == 2 {
			u.Snapshots = append(slices.Clone(u.Snapshots), inBill("snap-00000002", bill.Standard, 50, false))
		}
		a, err := analyzer(c.by).Bill(t.Context(), u)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if notes := strings.Join(a.Notes, "\n"); !strings.Contains(notes, c.says) || c.never != "" && strings.Contains(notes, c.never) {
			t.Errorf("%s: %s", name, notes)
		}
	}
}

// Credentials that were named and work nowhere are told apart from those that nobody
// named, and from those that work somewhere.
func TestRefused(t *testing.T) {
	t.Parallel()
	one, two := inBill("snap-00000001", bill.Standard, 50, false), inBill("snap-00000002", bill.Standard, 50, false)
	two.Region = "us-west-2"
	u := bill.Usage{From: day(1), To: day(30), Newest: day(29), Currency: "USD", Snapshots: []bill.Snapshot{one, two}}
	halfway := estates("111122223333", map[string]*estate{"us-west-2": {denied: errors.New("access denied")}})
	halfway.Named = true
	for name, c := range map[string]struct {
		by               Asker
		refused, unasked int
	}{
		"named, and not there":   {locked("profile a", true), 1, 1},
		"named, and denied":      {shut("profile a", "111122223333", true), 2, 2},
		"named, denied in one":   {halfway, 0, 1},
		"not named, not there":   {locked("the credentials of this run", false), 0, 1},
		"not named, and denied":  {shut("the credentials of this run", "", false), 0, 2},
		"named, and all is well": {(&estate{}).asker(), 0, 0},
	} {
		a, err := analyzer(c.by).Bill(t.Context(), u)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(a.Refused) != c.refused || len(a.Unasked) != c.unasked {
			t.Errorf("%s: refused %v, unasked %v", name, a.Refused, a.Unasked)
		}
	}
}

// Where there is nothing it is said where that was, and whose.
func TestNothingLive(t *testing.T) {
	t.Parallel()
	nobody := estates("", nil)
	nobody.Name = "profile audit"
	there := estates("444455556666", map[string]*estate{"us-east-1": {snapshots: []OwnedSnapshot{owned("snap-00000001", day(1))}}})
	for name, c := range map[string]struct {
		askers []Asker
		want   []string
	}{
		"one account":            {[]Asker{estates("111122223333", nil)}, []string{"no snapshots in us-east-1, eu-west-1 of account 111122223333; --region names other regions"}},
		"asked twice":            {[]Asker{estates("111122223333", nil), estates("111122223333", nil)}, []string{"no snapshots in us-east-1, eu-west-1 of account 111122223333; --region names other regions"}},
		"whose is not known":     {[]Asker{nobody}, []string{"no snapshots in us-east-1, eu-west-1 with profile audit; --region names other regions"}},
		"some in another region": {[]Asker{there}, []string{"no snapshots in eu-west-1 of account 444455556666; --region names other regions"}},
	} {
		a, err := analyzer(c.askers...).Live(t.Context(), []string{"us-east-1", "eu-west-1"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(a.Notes) < len(c.want) || !slices.Equal(a.Notes[:len(c.want)], c.want) {
			t.Errorf("%s: the first notes are %q, want %q", name, a.Notes, c.want)
		}
	}
}
