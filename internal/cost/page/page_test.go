package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/page"
	"snap-to-s3/internal/snapshot"
)

const gib = 1 << 30

// hostile is what an owner of a snapshot may type.
const hostile = `</script><img src=x onerror=alert(1)><!--"' onfocus=alert(2) style=display:none {{.}} =HYPERLINK("http://x.invalid") ` + "\u202e\x1b[31m"

// account has volumes of which the first snapshot is full and the others hold
// what changed; every seventh snapshot is held, and some are gone.
func account(t *testing.T, volumes, each int) cost.Report {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	regions := []string{"us-east-1", "us-west-2", "eu-west-2"}
	var all []cost.Holding
	for v := range volumes {
		size := int64(20+rnd.IntN(980)) * gib
		change := rnd.Float64() * 0.6
		for s := range each {
			h := cost.Holding{
				Partition: "aws", Account: fmt.Sprintf("%012d", 111111111111*(1+v%2)), Region: regions[v%len(regions)],
				ID: snapshot.ID(fmt.Sprintf("snap-%017x", v*100_000+s)), Volume: snapshot.VolumeID(fmt.Sprintf("vol-%017x", v)),
				VolumeName: fmt.Sprintf("database %d", v), VolumeState: cost.VolumeExists, VolumeSize: size,
				Start: time.Date(2024, 1, 1+7*s, 3, 0, 0, 0, time.UTC), Description: fmt.Sprintf("weekly %d of database %d", s, v),
				FullSize: size * 8 / 10, InBill: true, Billed: int64(float64(size)*change*(0.5+rnd.Float64()/2)) &^ (1<<19 - 1),
			}
			if s == 0 {
				h.Billed = h.FullSize
			}
			switch {
			case v == 0 && s == 1:
				h.Description, h.VolumeName = hostile, hostile
			case s%7 == 3:
				h.Holds = []string{"ami-0123456789abcdef0 uses it"}
			case v%5 == 4 && s == each-1:
				h.Gone = true
			case v%4 == 3:
				h.Average, h.VolumeState = true, cost.VolumeDeleted
			}
			h.Cost = cost.Money(h.Billed / gib * 50_000_000)
			h.NetCost, h.Blended = h.Cost, h.Cost
			all = append(all, h)
		}
	}
	if len(all) > 1 {
		all[0].VolumeName = hostile
	}
	r, err := cost.Analyze(all, cost.AnalysisOptions{
		Ratio: cost.Ratio{Plain: 2, Stored: 1}, HourlyRate: cost.Dollar / 10,
		Period: cost.Period{From: day(1), To: day(24), Newest: day(22)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func day(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }

func html(t *testing.T, r cost.Report) string {
	t.Helper()
	var b strings.Builder
	if err := page.HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageIsWhole(t *testing.T) {
	t.Parallel()
	text := html(t, account(t, 3, 16))
	for _, part := range []string{"style", "script"} {
		_, rest, _ := strings.Cut(text, "<"+part+">")
		inside, _, found := strings.Cut(rest, "</"+part+">")
		sum := sha256.Sum256([]byte(inside))
		quoted := strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;")
		if !found || !strings.Contains(text, part+"-src &#39;sha256-"+quoted) {
			t.Errorf("the policy does not allow the page's own %s", part)
		}
	}
	// A namespace is a name and no address.
	bare := strings.ReplaceAll(text, "http://x.invalid", "")
	for _, r := range []*regexp.Regexp{
		regexp.MustCompile(`(?i)(?:src|srcset|action|xlink:href|poster|data)="`), regexp.MustCompile(`url\(|@import|https?://[^"<]*"`),
		regexp.MustCompile(`href="[^#d]`), regexp.MustCompile(` style="`), regexp.MustCompile(` on[a-z]+="`), regexp.MustCompile(`ZgotmplZ`),
	} {
		if found := r.FindString(bare); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
}

func TestNamesStayText(t *testing.T) {
	t.Parallel()
	text := html(t, account(t, 3, 16))
	for _, bad := range []string{"<img", "</script><", "<!--", "\x1b", "\u202e"} {
		if n := strings.Count(text, bad); n > 0 {
			t.Errorf("%q gets through, %d times", bad, n)
		}
	}
	if n := strings.Count(text, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	if !strings.Contains(text, "&lt;img src=x onerror=alert(1)&gt;") {
		t.Error("the hostile name is not shown")
	}
}

func TestPageOfNothing(t *testing.T) {
	t.Parallel()
	if text := html(t, cost.Report{Best: -1}); !strings.Contains(text, "<h1>No snapshots are paid for</h1>") || !strings.HasSuffix(text, "</html>\n") {
		t.Error(text)
	}
}

type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		return 0, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

func TestPageTellsOfWriteErrors(t *testing.T) {
	t.Parallel()
	r := account(t, 2, 3)
	for _, room := range []int{0, 5000, len(html(t, r)) - 1} {
		if err := page.HTML(&full{room}, r); !errors.Is(err, errFull) {
			t.Errorf("with room for %d: %v", room, err)
		}
	}
}

// The page speaks of the currency of its report alone, bars by class included.
func TestPageSaysTheCurrency(t *testing.T) {
	t.Parallel()
	r := account(t, 3, 16)
	r.Currency = cost.CNY
	text := html(t, r)
	head, rest, _ := strings.Cut(text, "<script>")
	_, tail, _ := strings.Cut(rest, "</script>")
	if at := strings.Index(head+tail, "$"); at >= 0 {
		t.Errorf("the page speaks of dollars: %q", (head + tail)[max(0, at-100):at+20])
	}
	if !regexp.MustCompile(`<title>EBS snapshots: (at least )?CN¥[0-9.,]+ a month</title>`).MatchString(text) || !strings.Contains(text, "amounts are in CNY") ||
		!regexp.MustCompile(`<th scope="row">keep</th><td>.*</td><td class="n">CN¥[0-9.]+</td>`).MatchString(text) {
		t.Errorf("the page does not say the currency: %.2000s", text)
	}
}

// What has no price is not shown to cost nothing.
func TestPageOfUnknownCosts(t *testing.T) {
	t.Parallel()
	h := account(t, 1, 2).Regions[0].Volumes[0].Snapshots[0].Holding
	h.Region, h.Cost, h.NetCost = "xx-north-1", 0, 0
	r, err := cost.Analyze([]cost.Holding{h}, cost.AnalysisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text := html(t, r)
	for _, want := range []string{"<title>EBS snapshots: cost not known</title>", `<td class="n bars">not known<`, "<dd>not known <small>1 snapshot without a price</small></dd>", "GB, cost not known;", `<td class="n">not known</td>`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if at := strings.Index(text, "$0.00<"); at >= 0 {
		t.Errorf("something costs nothing: %q", text[max(0, at-200):at+20])
	}
}

// The page says what the answer leaves out, and what is not known, not that it is
// impossible.
func TestPageSaysWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	var all []cost.Holding
	for _, s := range account(t, 1, 3).Regions[0].Volumes[0].Snapshots {
		h := s.Holding
		h.Volume, h.VolumeSize, h.Start, h.FullSize, h.Holds = "", 0, time.Time{}, 0, nil
		all = append(all, h)
	}
	r, err := cost.Analyze(all, cost.AnalysisOptions{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	text := html(t, r)
	for _, want := range []string{
		"<h1>What moving snapshots saves is not known: EC2 was not asked of which volume they are; leave out --offline</h1>",
		`<p class="lead">3 snapshots in 1 region: `, `<td class="text">not reckoned: EC2 was not asked`, `<tr class="unknown">`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "annot be moved") {
		t.Error("the page says that something cannot be moved")
	}
}

// Bars of classes have their amounts beside them, and what is beside the answer is a
// list under it.
func TestPageByClass(t *testing.T) {
	t.Parallel()
	r := account(t, 3, 16)
	text := html(t, r)
	for _, want := range []string{
		`<tr><th scope="row">keep</th><td><svg class="share"`, `<tr><th scope="row">EBS Snapshots Archive</th><td><svg class="share"`,
		" in the first month, with what is paid once</small>", `<ul class="beside"><li>`, "<li>eu-west-2: EBS Snapshots Archive, S3 DEEP_ARCHIVE, ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
