package cost

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/snapshot"
)

// example is an analysis that docs/cost-model.md works out.
type example struct {
	holdings []Holding
	o        AnalysisOptions
	size     int64
	form     Form
	oldest   int
}

// The examples of what moving costs, worked out by hand in docs/cost-model.md.
func TestAnalysesOfTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cost-model.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(doc), "```analysis\n")[1:]
	if len(blocks) < 6 {
		t.Fatalf("%d analyses in docs/cost-model.md, want 6 or more", len(blocks))
	}
	for i, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			var e example
			want := map[string]string{}
			for line := range strings.Lines(block) {
				name, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
				if !ok {
					t.Fatalf("line %q is not a name and a value", line)
				}
				if result, ok := strings.CutPrefix(name, "-> "); ok {
					want[result] = value
				} else if err := e.set(name, value); err != nil {
					t.Fatal(err)
				}
			}
			all, got := e.results(t), map[string]string{}
			for name := range want {
				got[name] = all[name]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("analysis (-doc +computed):\n%s", diff)
			}
		})
	}
}

func (e *example) set(name, value string) (err error) {
	switch name {
	case "size-gib":
		e.size, err = gibs(value)
	case "snapshot":
		return e.add(strings.Fields(value))
	case "span":
		return e.span(value)
	case "class":
		e.o.Classes = []Class{Class(value)}
	case "ratio":
		e.o.Ratio, err = ParseRatio(value)
	case "read":
		e.o.Source = map[string]ReadSource{"volume": ReadVolume, "direct": ReadDirect}[value]
	case "form":
		e.form = map[string]Form{"full": FullCopies, "increments": Increments}[value]
	case "oldest":
		e.oldest, err = strconv.Atoi(value)
	case "overlap-days":
		e.o.OverlapDays, err = strconv.Atoi(value)
	case "hour":
		e.o.HourlyRate, err = ParseMoney(value)
	case "mib-per-second":
		e.o.Throughput, err = strconv.ParseInt(value, 10, 64)
		e.o.Throughput <<= 20
	default:
		return fmt.Errorf("an example cannot say %q", name)
	}
	return err
}

// span takes "1 to 3 holds 7": GiB that the first to the third snapshot share.
func (e *example) span(text string) error {
	var first, last int
	var size float64
	if _, err := fmt.Sscanf(text, "%d to %d holds %g", &first, &last, &size); err != nil {
		return fmt.Errorf("span %q: %w", text, err)
	}
	if e.o.Spans == nil {
		e.o.Spans = map[VolumeKey][]Span{}
	}
	v := VolumeKey{e.holdings[0].Account, e.holdings[0].Region, e.holdings[0].Volume}
	e.o.Spans[v] = append(e.o.Spans[v], Span{e.holdings[first-1].ID, e.holdings[last-1].ID, int64(size * float64(gibBytes))})
	return nil
}

// add takes "billed 40 full 40": GiB; what is missing is not known.
func (e *example) add(f []string) (err error) {
	i := len(e.holdings)
	h := Holding{
		Region: "us-east-1", ID: snapshot.ID(fmt.Sprintf("snap-%08x", i)), Volume: "vol-0000000a", VolumeSize: e.size, Start: time.Unix(int64(i+1)*86400, 0),
	}
	for ; len(f) > 0 && err == nil; f = f[1:] {
		switch f[0] {
		case "held":
			h.Holds = []string{"held"}
			continue
		case "validated":
			h.Work = WorkValidated
			continue
		case "billed":
			h.InBill = true
			h.Billed, err = gibs(f[1])
		case "full":
			h.FullSize, err = gibs(f[1])
		default:
			return fmt.Errorf("a snapshot cannot have %q", f[0])
		}
		f = f[1:]
	}
	e.holdings = append(e.holdings, h)
	return err
}

func gibs(text string) (int64, error) {
	n, err := strconv.ParseFloat(text, 64)
	return int64(n * float64(gibBytes)), err
}

func (e *example) results(t *testing.T) map[string]string {
	t.Helper()
	r := analyze(t, e.holdings, e.o)
	v := r.Regions[0].Volumes[0]
	e.o.Table = Builtin()
	a := &analysis{o: e.o, missing: map[item]bool{}}
	c, err := a.chainOf(v, e.holdings)
	if err != nil {
		t.Fatal(err)
	}
	var o Option
	a.mover(v, c).each(e.o.Classes[0], e.form, func(of Option) {
		if e.oldest == 0 || of.Snapshots <= e.oldest {
			o = of
		}
	})
	if e.oldest == 0 && e.form == FullCopies && o != *v.find(e.o.Classes[0], e.form, ScopeAll) {
		t.Errorf("%+v is not what the report says: %+v", o, v.Options)
	}
	size := func(r Range) string {
		text := func(n int64) string {
			return strconv.FormatFloat(math.Round(1e6*float64(n)/float64(gibBytes))/1e6, 'f', -1, 64)
		}
		if r.Exact() {
			return text(r.Estimate)
		}
		return fmt.Sprintf("%s to %s, about %s", text(r.Low), text(r.High), text(r.Estimate))
	}
	amount := func(r MoneyRange) string {
		if r.Exact() {
			return r.Estimate.Decimal()
		}
		return fmt.Sprintf("%s to %s, about %s", r.Low.Decimal(), r.High.Decimal(), r.Estimate.Decimal())
	}
	result := map[string]string{
		"freed-gib": size(o.Freed), "stored-gib": size(o.Stored), "now": amount(o.Now), "storage": amount(o.Storage), "after": amount(o.After),
		"saving": amount(o.Saving), "requests": o.OneTime.Requests.Decimal(), "volumes": o.OneTime.Volumes.Decimal(), "reads": o.OneTime.Reads.Decimal(),
		"instance": o.OneTime.Instance.Decimal(), "one-time": o.OneTime.Total().Decimal(), "first-month": o.First.Decimal(),
		"minimum-days": strconv.Itoa(o.MinimumDays), "minimum": o.Minimum.Decimal(), "retrieval": o.Retrieval.Decimal(),
		"break-even": strconv.Itoa(o.BreakEven), "latest": strconv.Itoa(o.Latest), "change": fmt.Sprintf("%.4g", v.Change.Percent),
	}
	result["deletable"] = strconv.Itoa(r.Deletable.Snapshots)
	result["deletable-gib"], result["deletable-saving"] = size(r.Deletable.Freed), amount(r.Deletable.Saving)
	for i, f := range c.full {
		result[fmt.Sprintf("full-gib-%d", i+1)] = size(f)
		result[fmt.Sprintf("billed-gib-%d", i+1)] = size(c.billed[i])
	}
	for _, l := range r.Regions[0].Limits {
		result["limit"] = fmt.Sprintf("%.4g", l.Percent)
	}
	return result
}
