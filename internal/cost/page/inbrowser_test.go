package page_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func looks() []look {
	return []look{
		{"phone", "light", "screen", 390},
		{"phone-dark", "dark", "screen", 390},
		{"desktop", "light", "screen", 1280},
		{"dark", "dark", "screen", 1280},
		{"print", "light", "print", 794}, // A4 at 96 to the inch
	}
}

// TestLooks looks at the page in each way. SNAP_TO_S3_AXE names axe.min.js of
// https://github.com/dequelabs/axe-core (npm axe-core), whose rules must then
// pass; SNAP_TO_S3_PICTURES a folder for pictures.
func TestLooks(t *testing.T) {
	b := startBrowser(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(html(t, account(t, 5, 16))), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open(path)
	for _, l := range looks() {
		t.Run(l.Name, func(t *testing.T) {
			b.t = t
			b.see(l)
			b.eval(`window.scrollTo(0,0); document.querySelectorAll("details.volume").forEach((d, i) => { d.open = i < 2; })`, nil)
			var over int
			if b.eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`, &over); over > 0 && l.Media == "screen" {
				t.Errorf("the page is %d pixels wider than the window", over)
			}
			picture(t, b, l)
			t.Run("axe", func(t *testing.T) { b.t = t; axe(t, b) })
		})
	}
	b.t = t
	if bad := b.complaints(path); len(bad) > 0 {
		t.Errorf("the page complains or asks:\n%s", strings.Join(bad, "\n"))
	}
}

// TestInBrowser loads the page from a file in a headless Chromium, sorts and
// filters, and reads it with scripts off.
func TestInBrowser(t *testing.T) {
	b := startBrowser(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(html(t, account(t, 20, 24))), 0o600); err != nil {
		t.Fatal(err)
	}
	b.see(looks()[2])
	b.open(path)
	t.Run("sort", func(t *testing.T) { b.t = t; sorting(t, b) })
	t.Run("filter", func(t *testing.T) { b.t = t; filtering(t, b) })
	b.t = t
	if bad := b.complaints(path); len(bad) > 0 {
		t.Errorf("the page complains or asks:\n%s", strings.Join(bad, "\n"))
	}
	t.Run("without script", func(t *testing.T) {
		b.t = t
		b.see(looks()[2])
		b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
		b.open(path)
		var shown, controls int
		b.eval(`[...document.querySelectorAll("#snapshots tbody tr")].filter(r => r.offsetHeight > 0).length`, &shown)
		b.eval(`[...document.querySelectorAll("button, input, select")].filter(c => c.offsetHeight > 0).length`, &controls)
		if shown != 20*24 || controls != 0 {
			t.Errorf("%d rows and %d controls that do nothing", shown, controls)
		}
	})
	b.t = t
}

// column has the texts of a column of the rows that are shown.
func column(b *browser, n int) []string {
	var texts []string
	b.eval(`[...document.querySelectorAll("#snapshots tbody tr")].filter(r => r.offsetHeight > 0).map(r => r.cells[`+
		string(rune('0'+n))+`].textContent)`, &texts)
	return texts
}

func sorting(t *testing.T, b *browser) {
	click := func(n string) (sort string) {
		b.eval(`(() => { const h = document.querySelectorAll("#snapshots thead th")[`+n+`]; h.querySelector("button").click(); return h.getAttribute("aria-sort"); })()`, &sort)
		return sort
	}
	if sort := click("5"); sort != "descending" {
		t.Errorf("sizes are sorted %q at first", sort)
	}
	largest := column(b, 5)
	var all []string
	b.eval(`[...document.querySelectorAll("#snapshots tbody tr")].map(r => Number(r.cells[5].textContent)).sort((a, b) => b - a).slice(0, 250).map(n => n.toFixed(1))`, &all)
	if len(largest) != 250 || strings.Join(largest, " ") != strings.Join(all, " ") {
		t.Errorf("%d rows by size: %v, want %v", len(largest), largest, all)
	}
	if sort := click("5"); sort != "ascending" {
		t.Errorf("sizes are sorted %q at the second click", sort)
	}
	if sort := click("4"); sort != "ascending" || column(b, 4)[0] != "2024-01-01" {
		t.Errorf("days are sorted %q, from %s", sort, column(b, 4)[0])
	}
	var marked int
	if b.eval(`document.querySelectorAll("#snapshots [aria-sort]").length`, &marked); marked != 1 {
		t.Errorf("%d columns say that they are sorted", marked)
	}
}

func filtering(t *testing.T, b *browser) {
	set := func(field, value string) {
		b.eval(`new Promise(done => { const f = document.getElementById("filters").elements["`+field+`"]; f.value = "`+value+
			`"; f.dispatchEvent(new Event("input", {bubbles: true})); setTimeout(done, 400); })`, nil)
	}
	set("region", "us-west-2")
	for _, region := range column(b, 2) {
		if region != "us-west-2" {
			t.Fatalf("a snapshot of %s", region)
		}
	}
	set("kind", "held")
	set("find", "ami-0123 DATABASE")
	shown := column(b, 0)
	var status string
	b.eval(`document.getElementById("status").textContent`, &status)
	if want := "21 of 21 snapshots shown, filtered from 480"; len(shown) != 21 || status != want {
		t.Errorf("%d shown, which says %q, want %q", len(shown), status, want)
	}
	set("find", "no such thing")
	if shown := column(b, 0); len(shown) != 0 {
		t.Errorf("%d shown of none", len(shown))
	}
	set("find", "")
	set("kind", "")
	set("region", "")
	b.eval(`document.getElementById("further").click()`, nil)
	if shown := column(b, 0); len(shown) != 480 {
		t.Errorf("%d shown of 480", len(shown))
	}
}

func axe(t *testing.T, b *browser) {
	path := os.Getenv("SNAP_TO_S3_AXE")
	if path == "" {
		t.Skip("SNAP_TO_S3_AXE names no axe.min.js")
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.eval(string(source)+"\n;0", nil)
	var found []json.RawMessage
	b.eval(`axe.run(document, {preload: false}).then(r => r.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map(n => [n.html.slice(0, 200), n.failureSummary])})))`, &found)
	for _, v := range found {
		t.Errorf("axe: %s", v)
	}
}

func picture(t *testing.T, b *browser, l look) {
	folder := os.Getenv("SNAP_TO_S3_PICTURES")
	if folder == "" {
		return
	}
	method, name := "Page.captureScreenshot", l.Name+".png"
	params := map[string]any{"captureBeyondViewport": true, "clip": map[string]any{"x": 0, "y": 0, "width": l.Width, "height": 4400, "scale": 1}}
	if l.Media == "print" {
		method, name, params = "Page.printToPDF", l.Name+".pdf", map[string]any{"preferCSSPageSize": true}
	}
	var shot struct{ Data string }
	b.call(method, params, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestManySnapshots holds a page of 10,000 snapshots to a size and a time that a
// phone bears.
func TestManySnapshots(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	text := html(t, account(t, 700, 15))
	const most = 8 << 20
	t.Logf("10,500 snapshots of 700 volumes: a page of %d KiB", len(text)>>10)
	if len(text) > most {
		t.Errorf("%d bytes, want %d at most", len(text), most)
	}
	b := startBrowser(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	b.open(path)
	var ready float64
	b.eval(`performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd`, &ready)
	t.Logf("loaded in %s, ready to sort and filter after %.0f ms", time.Since(start).Round(time.Millisecond), ready)
	var sorted, filtered float64
	b.eval(`new Promise(done => { const t = performance.now(); document.querySelectorAll("#snapshots thead button")[5].click(); requestAnimationFrame(() => setTimeout(() => done(performance.now() - t))); })`, &sorted)
	b.eval(`new Promise(done => { const f = document.getElementById("filters").elements.find; f.value = "database 12"; f.dispatchEvent(new Event("input", {bubbles: true})); const t = performance.now(); setTimeout(() => requestAnimationFrame(() => setTimeout(() => done(performance.now() - t))), 121); })`, &filtered)
	t.Logf("sorted in %.0f ms, filtered in %.0f ms", sorted, filtered)
	if bad := b.complaints(path); len(bad) > 0 {
		t.Errorf("the page complains or asks:\n%s", strings.Join(bad, "\n"))
	}
}
