package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/ui"
)

// AnalyzeOptions is what a person asked analyze to do, checked as far as that goes
// without reading anything.
type AnalyzeOptions struct {
	Inputs         []string // as typed; "-" is standard input
	Offline        bool     // EC2 is not asked
	Live           bool     // nothing but EC2 is asked
	Exact          bool     // with Live: lists of blocks, too
	MaxCost        cost.Money
	Limited        bool     // MaxCost is given
	Dollars        string   // an option whose amount was typed with a "$"; empty: none
	Regions        []string // none: those of the bill
	Profiles       []string // none: the default credentials
	Roles          []string // ARNs
	EndpointURL    string
	Bucket         string // whose ratio of compression counts; empty: none's
	Prices         []string
	Analysis       cost.AnalysisOptions // all but the table, and the ratio where Bucket is given
	HTML, PlanFile string               // empty: not written
	TagPlan        bool
	Yes            bool // else tags are only shown
	Tag            string
	Timeout        time.Duration

	Output    string // text, json or csv
	LogFormat ui.Format
	Verbose   bool
}

// options checks what was typed.
func (f *analyzeFlags) options(args []string) (AnalyzeOptions, error) {
	o := AnalyzeOptions{
		Inputs: args, Offline: f.offline, Live: f.live, Exact: f.exact, Profiles: f.profiles, Roles: f.roles,
		EndpointURL: f.endpointURL, Bucket: f.bucket, Prices: f.prices, HTML: f.html, PlanFile: f.plan,
		TagPlan: f.tagPlan, Yes: f.yes, Tag: f.tag, Verbose: f.verbose,
		Analysis: cost.AnalysisOptions{Payback: f.payback, OverlapDays: f.overlap},
	}
	for _, step := range []func(*AnalyzeOptions) error{f.together, f.asked, f.reckoned, f.done} {
		if err := step(&o); err != nil {
			return AnalyzeOptions{}, err
		}
	}
	return o, nil
}

// together checks what cannot be given together.
func (f *analyzeFlags) together(o *AnalyzeOptions) error {
	switch {
	case f.live && f.offline:
		return usagef("leave one of the two out", "--live and --offline: only one of them can be")
	case f.live && len(o.Inputs) > 0:
		return usagef("leave one of the two out", "--live asks EC2 alone, and %q is a bill", o.Inputs[0])
	case f.exact && !f.live:
		return usagef("bills tell exact sizes; without one, add --live", "--exact needs --live")
	case f.maxCost != "" && !f.exact:
		return usagef("nothing else here costs much", "--max-cost needs --exact")
	case f.yes && !f.tagPlan:
		return usagef("--tag-plan --yes tags the snapshots of the plan", "--yes needs --tag-plan")
	case f.offline && len(f.roles) > 0:
		return usagef("leave one of the two out", "--role-arn is whom EC2 is asked as, and --offline does not ask")
	case f.offline && len(f.profiles) > 0 && f.bucket == "" && !slices.ContainsFunc(o.Inputs, inBucket):
		return usagef("leave one of the two out", "--profile is whom AWS is asked as, and with --offline nothing here asks it")
	case f.tagPlan && f.offline:
		return usagef("leave one of the two out", "--tag-plan asks EC2, and --offline does not")
	case f.ratio != "" && f.bucket != "":
		return usagef("leave one of the two out", "--ratio and --bucket: only one of them can be")
	}
	for i, name := range o.Inputs {
		if name == "" {
			return usagef("name a file, a folder, an address or -", "the name of a bill is empty")
		}
		if slices.Contains(o.Inputs[:i], name) {
			return usagef("name each once", "%q is named twice", name)
		}
	}
	return nil
}

// inBucket tells whether a bill is in a bucket of S3.
func inBucket(name string) bool { return strings.HasPrefix(name, "s3://") }

// schemeForm is how addresses of any kind begin (RFC 3986, section 3.1).
var schemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// roleForm is the ARN of a role (IAM user guide, "IAM identifiers").
var roleForm = regexp.MustCompile(`^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)

func (f *analyzeFlags) asked(o *AnalyzeOptions) error {
	for _, region := range f.regions {
		if region == "" {
			return usagef("for example --region us-east-1", "--region is empty")
		}
		if err := checkRegion(region); err != nil {
			return err
		}
		if !slices.Contains(o.Regions, region) {
			o.Regions = append(o.Regions, region)
		}
	}
	for _, p := range f.profiles {
		if p == "" {
			return usagef("name one that ~/.aws/config has", "--profile is empty")
		}
	}
	for _, role := range f.roles {
		if !roleForm.MatchString(role) {
			return usagef("for example --role-arn arn:aws:iam::111122223333:role/audit", "--role-arn %q: not the ARN of a role", role)
		}
	}
	for _, in := range o.Inputs {
		if address, ok := strings.CutPrefix(in, "s3://"); ok {
			bucket, _, _ := strings.Cut(address, "/")
			if bucket == "" || checkBucket(bucket) != nil {
				return usagef("for example s3://bills.example.com/reports/", "%q: not an address of a bill", in)
			}
		} else if schemeForm.MatchString(in) {
			return usagef("fetch it first, and name the file; - is standard input", "%q: bills are files, folders, s3://BUCKET/KEY or -", in)
		}
	}
	if f.maxCost != "" {
		m, err := cost.ParseMoney(f.maxCost)
		if err != nil || m < 0 {
			return usagef("for example --max-cost 5", "--max-cost %q: not an amount", f.maxCost)
		}
		o.MaxCost, o.Limited = m, true
		o.dollars("--max-cost", f.maxCost)
	}
	return checkEndpoint(f.endpointURL)
}

// dollars keeps in mind that an amount is in dollars, whatever the report is in.
func (o *AnalyzeOptions) dollars(flag, amount string) {
	if strings.HasPrefix(amount, "$") {
		o.Dollars = flag
	}
}

// in checks that amounts that were typed can be in this currency.
func (o *AnalyzeOptions) in(c cost.Currency) error {
	if o.Dollars == "" || c.String() == string(cost.USD) {
		return nil
	}
	return usagef("give it without the $, in "+c.String(), "%s is in dollars, and all other amounts are in %s", o.Dollars, c)
}

func (f *analyzeFlags) reckoned(o *AnalyzeOptions) (err error) {
	for _, list := range f.classes {
		for name := range strings.SplitSeq(list, ",") {
			class := cost.Class(strings.ToUpper(name))
			if !slices.Contains(cost.Classes(), class) {
				return usagef(knownClasses(string(class)), "--storage-class %q: snapshots cannot be moved there", name)
			}
			if !slices.Contains(o.Analysis.Classes, class) {
				o.Analysis.Classes = append(o.Analysis.Classes, class)
			}
		}
	}
	if f.ratio != "" {
		if o.Analysis.Ratio, err = cost.ParseRatio(f.ratio); err != nil {
			return usagef("for example --ratio 2:1", "--ratio: %w", err)
		}
	}
	if f.bucket != "" {
		if err := checkBucket(f.bucket); err != nil {
			return err
		}
	}
	if f.instancePrice != "" {
		if o.Analysis.HourlyRate, err = cost.ParseMoney(f.instancePrice); err != nil || o.Analysis.HourlyRate < 0 {
			return usagef("for example --instance-price 0.096", "--instance-price %q: not an amount", f.instancePrice)
		}
		o.dollars("--instance-price", f.instancePrice)
	}
	switch f.source {
	case "volume":
	case "direct":
		o.Analysis.Source = cost.ReadDirect
	default:
		return usagef("", "--source %q: must be volume or direct", f.source)
	}
	return nil
}

// knownClasses is the next step where a class is none of those.
func knownClasses(typed string) string {
	var names []string
	for _, class := range cost.Classes() {
		names = append(names, string(class))
	}
	if near := nearest(typed, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "the classes are " + strings.Join(names, ", ")
}

func (f *analyzeFlags) done(o *AnalyzeOptions) (err error) {
	if err := checkTag(f.tag); err != nil {
		return err
	}
	for _, w := range []struct{ flag, path string }{{"html", f.html}, {"plan", f.plan}} {
		if err := checkWritable(w.flag, w.path); err != nil {
			return err
		}
	}
	for _, w := range []struct{ flag, path string }{{"html", f.html}, {"plan", f.plan}} {
		for _, in := range slices.Concat(o.Inputs, f.prices) {
			if sameFile(w.path, in) {
				return usagef("give it a name of its own", "--%s %q: that is what is read, and would be overwritten", w.flag, w.path)
			}
		}
	}
	if f.html != "" && filepath.Clean(f.html) == filepath.Clean(f.plan) {
		return usagef("give them names of their own", "--html and --plan: one file cannot be both")
	}
	if f.timeout != "" {
		if o.Timeout, err = parseTimeout(f.timeout); err != nil {
			return usagef("for example --timeout 6h", "--timeout %q: %w", f.timeout, err)
		}
	}
	o.Output = f.output
	output := f.output
	if output == "csv" {
		output = "text"
	}
	if output != "text" && output != "json" {
		return usagef("", "--output %q: must be text, json or csv", f.output)
	}
	_, o.LogFormat, err = checkForms(output, f.logFormat)
	return err
}

// checkWritable refuses what cannot become a file, before anything is read for it.
func checkWritable(flag, path string) error {
	switch path {
	case "":
		return nil
	case "-":
		return usagef("name a file; ./- is one of that name", "--%s -: standard output has the report", flag)
	}
	switch info, err := os.Stat(path); {
	case err == nil && !info.Mode().IsRegular():
		return usagef("name a file that may be replaced", "--%s %q: not a regular file", flag, path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return usagef("name a file that may be written", "--%s %q: %w", flag, path, bare(err))
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return usagef("make its folder first", "--%s %q: its folder does not exist", flag, path)
	}
	return nil
}

// sameFile tells whether two paths lead to one file that is there.
func sameFile(a, b string) bool {
	one, errA := os.Stat(a)
	other, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(one, other)
}
