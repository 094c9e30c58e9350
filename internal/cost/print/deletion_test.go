package print_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/snapshot"
)

// worked is a report of snapshots of which one is validated, one migrated, one is to
// be migrated and one is validated and held.
func worked(t *testing.T) cost.Report {
	t.Helper()
	var all []cost.Holding
	for i, work := range []cost.Work{cost.WorkValidated, cost.WorkMigrated, cost.WorkPlanned, cost.WorkValidated} {
		all = append(all, cost.Holding{
			Partition: "aws", Account: "111111111111", Region: "us-east-1", ID: snapshot.ID(fmt.Sprintf("snap-%017x", i)),
			Volume: "vol-0123456789abcdef0", VolumeSize: 100 * gib, Start: time.Date(2026, 1, i+1, 0, 0, 0, 0, time.UTC),
			FullSize: 100 * gib, InBill: true, Billed: 60 * gib, Work: work,
		})
	}
	all[0].Billed, all[3].Holds = 100*gib, []string{"ami-1 uses it"}
	r, err := cost.Analyze(all, cost.AnalysisOptions{Classes: []cost.Class{"STANDARD"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// How far moves are is said of each snapshot, and what deleting saves of all.
func TestWorkIsSaid(t *testing.T) {
	t.Parallel()
	r := worked(t)
	var text, lines bytes.Buffer
	if err := print.Text(&text, r); err != nil {
		t.Fatal(err)
	}
	if err := print.JSON(&lines, r); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		"[validated: can be deleted]", "[migrated]", "[to be migrated]", "[validated; ami-1 uses it]",
		"\n1 snapshot is validated and still paid for: deleting it saves $3.00 a month\n",
	} {
		if !strings.Contains(text.String(), says) {
			t.Errorf("the text lacks %q: %s", says, &text)
		}
	}
	var work []string
	for line := range bytes.Lines(lines.Bytes()) {
		var row struct {
			Type, Work string
			Deletable  int
			Saving     json.Number `json:"deletable_saving"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if row.Type == "snapshot" {
			work = append(work, row.Work)
		}
		if row.Type == "total" && (row.Deletable != 1 || row.Saving != "3") {
			t.Errorf("total: %s", line)
		}
	}
	if diff := cmp.Diff([]string{"validated", "migrated", "migrate", "validated"}, work); diff != "" {
		t.Errorf("work (-want +got):\n%s", diff)
	}
}

func TestDeletable(t *testing.T) {
	t.Parallel()
	money := func(low, estimate, high cost.Money) cost.MoneyRange {
		return cost.MoneyRange{Low: low * cost.Dollar, Estimate: estimate * cost.Dollar, High: high * cost.Dollar}
	}
	for want, d := range map[string]cost.Deletion{
		"": {},
		"12 snapshots are validated and still paid for: deleting them saves $3.00 a month":                        {Snapshots: 12, Saving: money(3, 3, 3)},
		"12 snapshots are validated and still paid for: deleting them saves about $3.00 ($1.00 to $5.00) a month": {Snapshots: 12, Saving: money(1, 3, 5)},
		"1 snapshot is validated and not deleted: what deleting it saves is not known":                            {Snapshots: 1, NoSaving: true},
		"2 snapshots are validated and not deleted: by these figures deleting them saves nothing":                 {Snapshots: 2},
	} {
		if got := print.Deletable(cost.Report{Deletable: d}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Nobody is told to keep what can be deleted.
func TestAnswerWhereSomeAreMoved(t *testing.T) {
	t.Parallel()
	moved := cost.Snapshot{Holding: cost.Holding{Work: cost.WorkValidated}}
	of := func(all ...cost.Snapshot) []cost.Region {
		return []cost.Region{{Volumes: []cost.Volume{{Snapshots: all}}}}
	}
	one, some := cost.Deletion{Snapshots: 1}, cost.Sum{Snapshots: 2}
	for want, r := range map[string]cost.Report{
		"No snapshots are left to be moved":                                    {Total: some, Best: -1, Regions: of(moved)},
		"Keep the snapshots that are not validated: moving them saves nothing": {Total: some, Best: -1, Deletable: one, Regions: of(moved, cost.Snapshot{Movable: true}), Options: []cost.Option{{}}},
	} {
		if got := print.Answer(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
