package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	htmlpage "snap-to-s3/internal/cost/page"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
)

// analyzing is one run of analyze.
type analyzing struct {
	env     Env
	o       AnalyzeOptions
	console *ui.Console
	log     *slog.Logger
	spent   cost.Money // on lists of blocks
}

// runAnalyze runs what analyze was asked for, and reports it.
func runAnalyze(ctx context.Context, env Env, o AnalyzeOptions) error {
	level := slog.LevelInfo
	if o.Verbose {
		level = slog.LevelDebug
	}
	console := env.console(o.LogFormat, level)
	defer console.Close()
	ctx, stop := withTimeout(ctx, o.Timeout)
	defer stop()
	r := &analyzing{env: env, o: o, console: console, log: console.Log()}
	return outOfTime(ctx, r.run(ctx))
}

// outOfTime is err, or why ctx has ended.
func outOfTime(ctx context.Context, err error) error {
	up, ok := errors.AsType[timeUp](context.Cause(ctx))
	if !ok || err == nil {
		return err
	}
	if !errors.Is(err, up) {
		err = fmt.Errorf("%w (while: %s)", up, strings.Join(strings.Fields(err.Error()), " "))
	}
	return hint.Wrap(err, "give it a longer --timeout, or fewer files")
}

func (r *analyzing) run(ctx context.Context) error {
	table, notes, err := r.prices(ctx)
	if err != nil {
		return err
	}
	r.o.Analysis.Table = table
	if r.o.Bucket != "" {
		if err := r.measure(ctx); err != nil {
			return err
		}
	}
	a, err := r.analyze(ctx)
	if err != nil {
		return err
	}
	a.Notes = append(a.Notes, notes...)
	return r.deliver(ctx, a)
}

// prices is the built-in table, with those of the files in place of its own.
func (r *analyzing) prices(ctx context.Context) (*cost.Table, []string, error) {
	table := cost.Builtin()
	var notes []string
	for _, name := range r.o.Prices {
		f, err := openFile(name)
		if err != nil {
			return nil, nil, fmt.Errorf("read price list: %w", err)
		}
		list, err := cost.ReadPrices(ctx, name, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, nil, err
		}
		table = table.With(list.Table)
		for _, n := range list.Notes {
			notes = append(notes, "price list "+name+": "+n)
		}
	}
	return table, notes, nil
}

func (r *analyzing) measure(ctx context.Context) error {
	store, err := r.store(ctx, r.o.Bucket)
	if err != nil {
		return err
	}
	ratio, n, err := analyze.MeasureRatio(ctx, store, r.o.Bucket)
	if err != nil {
		return err
	}
	r.log.Info("compression measured", "bucket", r.o.Bucket, "snapshots", n, "ratio", fmt.Sprintf("%.2f:1", ratio.Float()))
	r.o.Analysis.Ratio = ratio
	return nil
}

func (r *analyzing) analyze(ctx context.Context) (*analyze.Analysis, error) {
	w := &analyze.Analyzer{Tag: r.o.Tag, Options: r.o.Analysis, Log: r.log}
	if !r.o.Offline {
		w.Askers = r.askers()
	}
	if r.o.Live {
		regions, err := r.liveRegions(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.o.in(cost.RegionCurrency(regions[0])); err != nil {
			return nil, err
		}
		task := r.console.Task("EC2", 0)
		defer task.Done()
		w.Step = task.Stage
		return w.Live(ctx, regions)
	}
	inputs, err := r.inputs(ctx)
	if err != nil {
		return nil, err
	}
	u, err := r.read(ctx, inputs)
	if err != nil {
		return nil, err
	}
	if err := r.o.in(cost.Currency(u.Currency)); err != nil {
		return nil, err
	}
	if err := r.onlyRegions(&u); err != nil {
		return nil, err
	}
	task := r.console.Task("EC2", 0)
	defer task.Done()
	w.Step = task.Stage
	return w.Bill(ctx, u)
}

// onlyRegions leaves of a bill what --region names. It is an error if that is nothing.
func (r *analyzing) onlyRegions(u *bill.Usage) error {
	if len(r.o.Regions) == 0 || len(u.Snapshots) == 0 {
		return nil
	}
	there := map[string]bool{}
	for _, s := range u.Snapshots {
		there[s.Region] = true
	}
	u.Snapshots = slices.DeleteFunc(u.Snapshots, func(s bill.Snapshot) bool { return !slices.Contains(r.o.Regions, s.Region) })
	named := strings.Join(r.o.Regions, ", ")
	if len(u.Snapshots) == 0 {
		return hint.Wrap(fmt.Errorf("the bill has no snapshots in %s, as --region says: it has some in %s", named, strings.Join(slices.Sorted(maps.Keys(there)), ", ")),
			"name one of those, or leave --region out")
	}
	u.Notes = append(u.Notes, "only of "+named+", as --region says")
	for _, region := range r.o.Regions {
		if !there[region] {
			u.Notes = append(u.Notes, "the bill has no snapshots in "+region)
		}
	}
	return nil
}

// liveRegions are those that are named, or else the configured one.
func (r *analyzing) liveRegions(ctx context.Context) ([]string, error) {
	if len(r.o.Regions) > 0 {
		return r.o.Regions, nil
	}
	s, err := r.session(ctx, aws.Options{Profile: r.firstProfile()})
	if err != nil {
		return nil, err
	}
	return []string{s.Config.Region}, nil
}

// read reads the bills, and shows how far it is.
func (r *analyzing) read(ctx context.Context, inputs []bill.Input) (bill.Usage, error) {
	var total int64
	for _, in := range inputs {
		if in.Size < 0 {
			total = 0
			break
		}
		total += in.Size
	}
	task := r.console.Task("bill", total)
	defer task.Done()
	task.Stage("reading")
	var told int64
	u, err := bill.Read(ctx, inputs, bill.Options{Progress: func(bytes, rows int64) {
		task.Add(bytes - told)
		task.Stage(words.Count(rows, "row"))
		told = bytes
	}})
	if ctx.Err() != nil {
		return bill.Usage{}, fmt.Errorf("read bills: %w", context.Cause(ctx))
	}
	return u, err
}

// deliver writes files, tags, and prints. What fails does not keep the rest from
// being done.
func (r *analyzing) deliver(ctx context.Context, a *analyze.Analysis) error {
	var errs []error
	if r.o.HTML != "" {
		errs = append(errs, r.write(r.o.HTML, func(w io.Writer) error { return htmlpage.HTML(w, a.Report) }))
	}
	plan := a.Plan(cost.PlanOptions{Tag: r.o.Tag})
	if r.o.PlanFile != "" {
		errs = append(errs, r.write(r.o.PlanFile, func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(plan)
		}))
	}
	var tags []analyze.Tagging
	if r.o.TagPlan {
		apply := analyze.DryRun
		if r.o.Yes {
			apply = analyze.Carry
		}
		errs = append(errs, a.Tag(ctx, plan, apply, func(t analyze.Tagging) { tags = append(tags, t) }))
	}
	errs = append(errs, r.print(a.Report, plan, tags))
	if r.o.Live { // what is asked for is not all there
		return errors.Join(append(errs, a.Unasked...)...)
	}
	for _, err := range a.Refused {
		errs = append(errs, fmt.Errorf("the report lacks what was asked for: %w", err))
	}
	return errors.Join(errs...)
}

func (r *analyzing) write(path string, write func(io.Writer) error) error {
	if err := writeWhole(path, write); err != nil {
		return err
	}
	r.log.Info("written", "file", path)
	return nil
}
