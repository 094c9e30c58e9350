package page

import (
	"errors"
	"fmt"
	"html/template"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-analyze/charts"
)

// chart is a drawing of bars. The drawing is for eyes: the figures are in the
// table beside it, and Alt says what it shows.
type chart struct {
	Labels []string
	Values []float64
	Unit   string // of the values: " GB"
	Alt    string
}

// maxBars is the most bars that can be told apart in chartWidth.
const (
	maxBars     = 90
	chartWidth  = 400 // CSS pixels, as all below
	chartHeight = 170
	fontSize    = 12
)

// The library writes colours into each shape. The page has two themes and allows
// no styles but its own, so that each role is drawn in a colour of its own that
// stands for a class, and every style is replaced by it.
const roleRed, roleGreen = 1, 2

func role(blue uint8) charts.Color {
	return charts.Color{R: roleRed, G: roleGreen, B: blue, A: 255}
}

func roleClass(blue string) string {
	switch blue {
	case "1":
		return "axis"
	case "2":
		return "grid"
	case "3":
		return "label"
	case "4":
		return "bar"
	}
	return ""
}

func theme() charts.ColorPalette {
	axis, grid, label, bar := role(1), role(2), role(3), role(4)
	return charts.MakeTheme(charts.ThemeOption{
		AxisStrokeColor: axis, AxisSplitLineColor: grid,
		TextColor: label, TextColorTitle: label, TextColorMark: label, TextColorLabel: label,
		TextColorLegend: label, TextColorXAxis: label, TextColorYAxis: label,
		SeriesColors: []charts.Color{bar},
	})
}

func (c chart) svg() (template.HTML, error) {
	if len(c.Values) == 0 || len(c.Values) != len(c.Labels) {
		return "", errors.New("draw a chart: as many labels as values, and one at least")
	}
	font := charts.NewFontStyleWithSize(fontSize)
	o := charts.NewBarChartOptionWithData([][]float64{c.Values})
	o.Theme = theme()
	o.Padding = charts.NewBox(2, 8, 10, 2)
	o.CategoryAxis.Labels, o.CategoryAxis.LabelCount, o.CategoryAxis.LabelFontStyle = few(c.Labels), len(c.Labels), font
	o.ValueAxis = []charts.ValueAxisOption{{LabelFontStyle: font, Min: charts.Ptr(0.0), LabelCount: 4, ValueFormatter: c.axisLabel}}
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: chartWidth, Height: chartHeight})
	if err := p.BarChart(o); err != nil {
		return "", fmt.Errorf("draw a chart of %d bars: %w", len(c.Values), err)
	}
	drawn, err := p.Bytes()
	if err != nil {
		return "", fmt.Errorf("draw a chart of %d bars: %w", len(c.Values), err)
	}
	return restyle(string(drawn), c.Alt)
}

// few leaves the first, the middle and the last of many labels: the library's own
// choice lets the last two run into each other.
func few(labels []string) []string {
	if len(labels) <= 3 {
		return labels
	}
	some := make([]string, len(labels))
	for _, at := range []int{0, (len(labels) - 1) / 2, len(labels) - 1} {
		some[at] = labels[at]
	}
	return some
}

func (c chart) axisLabel(v float64) string {
	text := strconv.FormatFloat(v, 'f', 4, 64)
	text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	return text + c.Unit
}

var (
	svgHead   = regexp.MustCompile(`^<svg [^>]*viewBox="([0-9 ]+)"[^>]*>`)
	svgStyle  = regexp.MustCompile(` style="([^"]*)"`)
	roleColor = regexp.MustCompile(`rgb\(1,2,(\d+)\)`)
	emptyPath = regexp.MustCompile(`<path d="[^"]*" style="stroke:none;fill:none"/>`)
)

// restyle takes the styles out of what the library drew. What it does not know is
// an error, so that an update of the library cannot draw black on black.
func restyle(svg, alt string) (template.HTML, error) {
	head := svgHead.FindStringSubmatch(svg)
	if head == nil {
		return "", errors.New("draw a chart: the drawing does not start as one")
	}
	body := emptyPath.ReplaceAllString(svg[len(head[0]):], "")
	var unknown []string
	body = svgStyle.ReplaceAllStringFunc(body, func(style string) string {
		found := roleColor.FindStringSubmatch(style)
		if found == nil || roleClass(found[1]) == "" {
			unknown = append(unknown, style)
			return ""
		}
		return ` class="` + roleClass(found[1]) + `"`
	})
	if len(unknown) > 0 {
		return "", fmt.Errorf("draw a chart: no class for the style %q", unknown[0])
	}
	start := fmt.Sprintf(`<svg class="chart" viewBox="%s" role="img" aria-label="%s">`, head[1], template.HTMLEscapeString(alt))
	return template.HTML(start + strings.ReplaceAll(body, "\n", " ")), nil
}
