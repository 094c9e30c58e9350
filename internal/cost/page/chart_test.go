package page

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"snap-to-s3/internal/cost"
)

// A drawing is XML, says what it is, and has no style of its own.
func TestChart(t *testing.T) {
	t.Parallel()
	many := make([]float64, maxBars)
	for name, c := range map[string]chart{
		"one":   {Labels: []string{"2016-11-01"}, Values: []float64{448.7}, Unit: " GB"},
		"zeros": {Labels: []string{"2016-11-01", "2016-12-01"}, Values: []float64{0, 0}, Unit: "%"},
		"tiny":  {Labels: []string{"2016-11-01", "2016-12-01"}, Values: []float64{0.0001, 0.0002}, Unit: " GB"},
		"huge":  {Labels: []string{"2016-11-01", "2016-12-01"}, Values: []float64{64 << 20, 1}, Unit: " GB"},
		"many":  {Labels: make([]string, maxBars), Values: many, Unit: " GB"},
	} {
		c.Alt = `sizes of <"vol'&`
		drawn, err := c.svg()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := string(drawn)
		if !strings.HasPrefix(text, `<svg class="chart" `) || !strings.Contains(text, `role="img" aria-label="sizes of &lt;&#34;vol&#39;&amp;"`) {
			t.Errorf("%s starts as %.100s", name, text)
		}
		if strings.Contains(text, "style=") || strings.Contains(text, "rgb(") || strings.Contains(text, "NaN") {
			t.Errorf("%s has styles, or no numbers: %s", name, text)
		}
		if n := strings.Count(text, `class="bar"`); name != "zeros" && name != "many" && n != len(c.Values) {
			t.Errorf("%s has %d bars, want %d", name, n, len(c.Values))
		}
		for dec := xml.NewDecoder(strings.NewReader(text)); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// What an update of the library may do differently is an error, not a black page.
func TestChartRefusesUnknownStyles(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`<path style="fill:rgb(9,9,9)"/>`, `<svg viewBox="0 0 1 1"><path d="M 0 0" style="stroke:none;fill:rgb(1,2,99)"/></svg>`,
		`<svg viewBox="0 0 1 1"><text style="fill:black">x</text></svg>`, ``,
	} {
		if got, err := restyle(bad, "x"); err == nil {
			t.Errorf("%s became %s", bad, got)
		}
	}
	for _, c := range []chart{{}, {Labels: []string{"a"}}, {Labels: []string{"a", "b"}, Values: []float64{1}}} {
		if got, err := c.svg(); err == nil {
			t.Errorf("%+v became %s", c, got)
		}
	}
}

func TestBarsAreFewEnough(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{1: 1, maxBars: maxBars, maxBars + 1: (maxBars + 2) / 2, 10_000: 90} {
		c, each := bars(make([]cost.Snapshot, n), func(cost.Snapshot) float64 { return 1 })
		if len(c.Values) != want || len(c.Labels) != want || (each != "") != (n > maxBars) {
			t.Errorf("%d snapshots: %d bars %q, want %d", n, len(c.Values), each, want)
		}
	}
}
