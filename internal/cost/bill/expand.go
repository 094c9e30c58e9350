package bill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/hint"
)

// expander turns inputs into files.
type expander struct {
	parts     []part
	notes     []string
	next      int // assembly
	manifests []candidate
}

// candidate is a manifest that newer ones of its report and period may replace.
type candidate struct {
	*manifest
	Input
}

// expand finds the files to be read, and which belong together.
func expand(ctx context.Context, inputs []Input) ([]part, []string, error) {
	if len(inputs) == 0 {
		return nil, nil, hint.Wrap(errors.New("no bill is given"), "name its file, manifest or folder, or - for standard input")
	}
	x := &expander{}
	for _, in := range inputs {
		var err error
		switch {
		case in.Files != nil:
			err = x.folder(ctx, in)
		case isManifest(in.Name):
			err = x.manifest(ctx, in)
		default:
			x.alone(in)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if err := x.resolve(ctx); err != nil {
		return nil, nil, err
	}
	parts, again := readOnce(x.parts)
	if len(again) > 0 {
		x.notes = append(x.notes, "given more than once, and read once: "+few(again))
	}
	return parts, x.notes, nil
}

// alone adds a file that no manifest tells of. Its name does not say that it is a
// part of the same delivery as another: it is checked by its lines, see ledger.once.
func (x *expander) alone(in Input) {
	x.parts = append(x.parts, part{in, x.next})
	x.next++
}

func (x *expander) manifest(ctx context.Context, in Input) error {
	m, err := openManifest(ctx, in)
	if err == nil {
		x.manifests = append(x.manifests, candidate{m, in})
	}
	return err
}

func openManifest(ctx context.Context, in Input) (*manifest, error) {
	f, err := in.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", in.Name, err)
	}
	defer f.Close()
	return parseManifest(in.Name, f)
}

// folder adds the newest assembly of each billing period: what its manifests
// say, or where there are none, what the names of its folders say.
func (x *expander) folder(ctx context.Context, in Input) error {
	var manifests, data []Input
	var skipped []string
	count := 0
	for f, err := range in.Files(ctx) {
		if err != nil {
			return err
		}
		if count++; count > maxFiles {
			return hint.Wrap(fmt.Errorf("%s has more than %d files", in.Name, maxFiles), "name the folder of the report")
		}
		listed := strings.HasSuffix(strings.ToLower(f.Name), "manifest.json")
		switch {
		case f.trouble != nil && (listed || isData(f.Name)):
			err := fmt.Errorf("read bill %s: %w", f.Name, f.trouble)
			return hint.Wrap(err, "it is named as a file of a bill is, and half a bill is not read: put the file there, or take this away")
		case f.trouble != nil:
			skipped = append(skipped, fmt.Sprintf("%s (%v)", f.Name, f.trouble))
		case listed:
			manifests = append(manifests, f)
		case isData(f.Name):
			data = append(data, f)
		}
	}
	if len(skipped) > 0 {
		x.notes = append(x.notes, "passed over, being neither a file of a bill nor named as one: "+few(skipped))
	}
	named := map[string][]int{} // the files of each name
	for i := range data {
		base := path.Base(data[i].Name)
		named[base] = append(named[base], i)
	}
	for _, f := range manifests {
		f.Beside = besideIn(f, data, named)
		if err := x.manifest(ctx, f); err != nil {
			return err
		}
	}
	if len(manifests) == 0 {
		x.unlisted(data)
	}
	if len(manifests)+len(data) == 0 {
		return hint.Wrap(fmt.Errorf("%s has no files of a bill", in.Name), "they end in .csv, .csv.gz, .csv.zip or .parquet, or are named …-Manifest.json")
	}
	return nil
}

// besideIn finds what a manifest names among the files of its folder: the one
// whose path has most of the key's end; what both it and the manifest
// are below decides between equals.
func besideIn(manifest Input, data []Input, named map[string][]int) func(context.Context, string) (Input, error) {
	return func(ctx context.Context, key string) (Input, error) {
		best, most := -1, 0
		for _, i := range named[path.Base(key)] {
			n := commonEnd(data[i].Name, key)
			if n == 0 {
				continue
			}
			n = n<<16 + commonStart(data[i].Name, manifest.Name)
			if n > most {
				best, most = i, n
			}
		}
		enough := most>>16 > 1 || !strings.Contains(key, "/") || best >= 0 && path.Dir(data[best].Name) == path.Dir(manifest.Name)
		switch {
		case best >= 0 && enough:
			return data[best], nil
		case manifest.Beside != nil:
			return manifest.Beside(ctx, key)
		}
		return Input{}, fs.ErrNotExist
	}
}

// commonEnd is how many elements two paths end with in common.
func commonEnd(a, b string) int {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	n := 0
	for n < len(x) && n < len(y) && x[len(x)-1-n] == y[len(y)-1-n] {
		n++
	}
	return n
}

func commonStart(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && n < 1<<16-1 && a[n] == b[n] {
		n++
	}
	return n
}

// unlisted adds files of a folder without manifests.
func (x *expander) unlisted(data []Input) {
	type group struct{ report, period string }
	type version struct {
		name  string
		at    time.Time
		files []Input
	}
	groups := map[group]map[string]*version{}
	for _, f := range data {
		w := whereabouts(f.Name)
		g := group{w.report, w.period}
		if groups[g] == nil {
			groups[g] = map[string]*version{}
		}
		v := groups[g][w.assembly]
		if v == nil {
			v = &version{name: w.assembly}
			groups[g][w.assembly] = v
		}
		v.files = append(v.files, f)
		if f.Modified.After(v.at) {
			v.at = f.Modified
		}
	}
	order := make([]group, 0, len(groups))
	for g := range groups {
		order = append(order, g)
	}
	slices.SortFunc(order, func(a, b group) int { return cmp.Or(cmp.Compare(a.report, b.report), cmp.Compare(a.period, b.period)) })
	for _, g := range order {
		var best *version
		for _, v := range groups[g] {
			if best == nil || newer(v.name, v.at, best.name, best.at) {
				best = v
			}
		}
		if n := len(groups[g]); n > 1 {
			x.notes = append(x.notes, fmt.Sprintf("%s of %s has %d assemblies; the newest was read, %s", g.report, g.period, n, best.name))
		}
		slices.SortFunc(best.files, func(a, b Input) int { return cmp.Compare(a.Name, b.Name) })
		for _, f := range best.files {
			x.alone(f)
		}
	}
}

// newer says whether assembly a is newer than b: by the time that both are named
// after, or else by when their files were changed, which copies keep; by name at last.
func newer(a string, aTime time.Time, b string, bTime time.Time) bool {
	if stamped.MatchString(a) && stamped.MatchString(b) {
		return a > b
	}
	if !aTime.Equal(bTime) {
		return aTime.After(bTime)
	}
	return a > b
}

// resolve picks the newest manifest of each report and period, and finds its files.
func (x *expander) resolve(ctx context.Context) error {
	best := map[string]candidate{}
	var order []string
	for _, c := range x.manifests {
		key := c.key()
		before, ok := best[key]
		if !ok {
			order = append(order, key)
		}
		if !ok || c.replaces(before) {
			best[key] = c
		}
	}
	slices.Sort(order)
	for _, key := range order {
		c := best[key]
		parts, err := c.parts(ctx, c.Input, x.next)
		if err != nil {
			return err
		}
		x.next++
		x.parts = append(x.parts, parts...)
	}
	old := map[string]bool{} // AWS puts a copy of the newest manifest above the assemblies
	for _, c := range x.manifests {
		files := strings.Join(c.files(), "\x00")
		if files != strings.Join(best[c.key()].files(), "\x00") {
			old[c.key()+"\x00"+files] = true
		}
	}
	if len(old) > 0 {
		x.notes = append(x.notes, count(int64(len(old)), "older assembly was", "older assemblies were")+" not read")
	}
	return nil
}

// replaces says whether c is newer than b. That of a legacy report's billing
// period, above the assemblies, is always the newest one's.
func (c candidate) replaces(b candidate) bool {
	cw, bw := whereabouts(c.Input.Name), whereabouts(b.Input.Name)
	if (cw.assembly == "") != (bw.assembly == "") && cw.period != "" && bw.period != "" {
		return cw.assembly == ""
	}
	return newer(cmp.Or(cw.assembly, c.Assembly), c.Modified, cmp.Or(bw.assembly, b.Assembly), b.Modified)
}
