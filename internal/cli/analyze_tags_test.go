package cli

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
)

// What a person is told of a plan: which snapshots, of whom, what moves them, or why
// there are none.
func TestPlanInWords(t *testing.T) {
	t.Parallel()
	tag := func(account, region string, o analyze.TagOutcome) analyze.Tagging {
		return analyze.Tagging{Account: account, Region: region, Volume: "vol-1", Snapshot: "snap-1", Outcome: o}
	}
	const (
		where = "what is tagged is moved by, on an instance of that account in that region:\n"
		after = "nothing is saved before the snapshots are deleted, which migrate does not do: validate names the commands\n"
	)
	planned := cost.Report{Regions: []cost.Region{{Volumes: []cost.Volume{
		{Account: "3", Region: "r", Snapshots: []cost.Snapshot{{Holding: cost.Holding{Work: cost.WorkPlanned}, Movable: true}}},
		{Account: "4", Region: "r", Snapshots: []cost.Snapshot{{Holding: cost.Holding{Work: cost.WorkMigrated}}}},
	}}}}
	for name, c := range map[string]struct {
		report cost.Report
		plan   cost.Plan
		tags   []analyze.Tagging
		name   string
		want   string
	}{
		"nothing at all": {want: "nothing to tag: there are no snapshots\n"},
		"reasons": {
			plan: cost.Plan{Kept: []cost.Kept{{Region: "r", Volume: "vol-1", Why: "an archive\x1bis better"}, {Why: "no price"}, {Why: "no price"}}},
			want: "nothing to tag:\n  2 volumes: no price\n  vol-1 in r: an archive\\x1bis better\n",
		},
		"of one account": {
			plan: cost.Plan{Class: "GLACIER"}, tags: []analyze.Tagging{tag("1", "r", analyze.TagWould)},
			want: "would tag    snap-1  r  vol-1\n1 snapshot would be tagged snap-to-s3=migrate; nothing was changed, --yes does it\n" +
				where + "  account 1: snap-to-s3 migrate --all --region r --storage-class GLACIER --bucket NAME\n" + after,
		},
		"of several": {
			plan: cost.Plan{Class: "GLACIER"}, name: "my tag",
			tags: []analyze.Tagging{tag("2", "r", analyze.TagDone), tag("1", "s", analyze.TagDone), tag("1", "q", analyze.TagFailed), tag("1", "p", analyze.TagPassed)},
			want: "tagged       2  snap-1  r  vol-1\ntagged       1  snap-1  s  vol-1\nfailed       1  snap-1  q  vol-1\npassed over  1  snap-1  p  vol-1\n" +
				"2 tagged my tag=migrate, 1 passed over, 1 failed\n" + where +
				"  account 1: snap-to-s3 migrate --all --region s --tag 'my tag' --storage-class GLACIER --bucket NAME\n" +
				"  account 2: snap-to-s3 migrate --all --region r --tag 'my tag' --storage-class GLACIER --bucket NAME\n" + after,
		},
		"all failed": {
			tags: []analyze.Tagging{tag("1", "r", analyze.TagFailed)},
			want: "failed       snap-1  r  vol-1\n0 tagged snap-to-s3=migrate, 0 passed over, 1 failed\n",
		},
		"tagged already": {
			report: planned, plan: cost.Plan{Class: "GLACIER", Tagged: 1},
			want: "tagged already, and not named here: 1 snapshot of those that pay back\n" + where +
				"  account 3: snap-to-s3 migrate --all --region r --storage-class GLACIER --bucket NAME\n" + after,
		},
	} {
		r := &analyzing{o: AnalyzeOptions{Tag: "snap-to-s3"}}
		if c.name != "" {
			r.o.Tag = c.name
		}
		var got bytes.Buffer
		if err := r.printTags(&got, c.report, c.plan, c.tags); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff("\n"+c.want, got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestUnknownModesSayWhatIsMeant(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{
		"--analyse": "did you mean --analyze?",
		"--migrat":  "did you mean --migrate?",
		"--all":     "start with a verb, as in snap-to-s3 migrate, or with --migrate as of old",
	} {
		err := run(t.Context(), []string{flag, "bill.csv"}, Env{}.withDefaults(), verbs{})
		if hint.Of(err) != want || exitCode(t.Context(), err) != exitUsage {
			t.Errorf("%s: %v, hint %q, want %q", flag, err, hint.Of(err), want)
		}
	}
}
