package cost

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A plan moves what pays back in time, and nothing that is held.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		r := analyze(t, drawHoldings(t), o)
		p := r.Plan(PlanOptions{})
		movable := map[string]bool{}
		volumes := 0
		for _, region := range r.Regions {
			volumes += len(region.Volumes)
			for _, v := range region.Volumes {
				for _, s := range v.Snapshots {
					movable[string(s.ID)] = s.Movable && len(s.Holds) == 0 && !s.Gone && !s.Archived && s.Work == WorkNone
				}
			}
		}
		var saving Money
		for _, m := range p.Moves {
			saving += m.Saving
			if m.BreakEven < 1 || o.Payback > 0 && m.BreakEven > o.Payback || m.Saving <= 0 || len(m.Snapshots) == 0 {
				t.Fatalf("move %+v within %d months", m, o.Payback)
			}
			for _, s := range m.Snapshots {
				if !movable[string(s.ID)] {
					t.Fatalf("%s cannot be moved", s.ID)
				}
			}
		}
		if saving != p.Saving || len(p.Moves)+len(p.Kept) != volumes {
			t.Fatalf("plan %+v of %d volumes", p, volumes)
		}
		if r.Best < 0 && len(p.Moves) > 0 {
			t.Fatalf("the best is to keep all, the plan is %+v", p)
		}
		if r.Best >= 0 && r.Options[r.Best].Class != EBSArchive {
			best, n := r.Options[r.Best], p.Tagged
			for _, m := range p.Moves {
				n += len(m.Snapshots)
			}
			if best.Class != p.Class || best.Snapshots != n || p.Tagged == 0 && (best.Saving.Estimate != p.Saving || best.Volumes != len(p.Moves)) {
				t.Fatalf("the plan is %+v, the best option %+v", p, best)
			}
		}
	})
}

func TestPlanOfClass(t *testing.T) {
	h := uniform(3, 100<<30, 50<<30)
	for i := range h {
		h[i].Region = "us-east-1"
	}
	h[2].Holds = []string{"locked"}
	r := analyze(t, h, AnalysisOptions{})
	for _, tt := range []struct {
		o    PlanOptions
		want int
	}{
		{PlanOptions{}, 2}, {PlanOptions{Class: "GLACIER"}, 2}, {PlanOptions{Class: EBSArchive}, 0}, {PlanOptions{Class: "TAPE"}, 0},
	} {
		p := r.Plan(tt.o)
		n := 0
		for _, m := range p.Moves {
			n += len(m.Snapshots)
		}
		if n != tt.want || p.Value != "migrate" || p.Tag != "snap-to-s3" {
			t.Errorf("plan of %+v: %d snapshots, want %d: %+v", tt.o, n, tt.want, p)
		}
	}
}

// The plan of docs/cost-model.md is what is written.
func TestPlanOfTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cost-model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```json\n")
	text, _, _ := strings.Cut(rest, "```")
	var want any
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	h := uniform(3, 100<<30, 50<<30)
	for i := range h {
		h[i].Region, h[i].Account = "us-east-1", "123456789012"
	}
	other := uniform(1, 8<<30, 0)[0]
	other.ID, other.Volume, other.Region, other.Account, other.Holds = "snap-000000ff", "vol-0000000f", "us-east-1", "123456789012", []string{"AWS Backup"}
	data, err := json.Marshal(analyze(t, append(h, other), AnalysisOptions{Payback: 6}).Plan(PlanOptions{Class: "GLACIER_IR"}))
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-doc +computed):\n%s\n%s", diff, data)
	}
}
