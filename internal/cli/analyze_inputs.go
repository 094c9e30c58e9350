package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/ebs"
	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// inputs are the bills, wherever they are.
func (r *analyzing) inputs(ctx context.Context) ([]bill.Input, error) {
	stores := map[string]analyze.BillBucket{}
	var all []bill.Input
	for _, name := range r.o.Inputs {
		in, err := r.input(ctx, name, stores)
		if err != nil {
			return nil, err
		}
		all = append(all, in)
	}
	return all, nil
}

func (r *analyzing) input(ctx context.Context, name string, stores map[string]analyze.BillBucket) (bill.Input, error) {
	if name == "-" {
		return bill.Stream("standard input", r.env.Stdin), nil
	}
	address, remote := strings.CutPrefix(name, "s3://")
	if !remote {
		in, err := bill.File(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = hint.Wrap(err, "is it in another folder? - is standard input, s3://BUCKET/KEY a bill in a bucket")
		}
		return in, err
	}
	bucket, key, _ := strings.Cut(address, "/")
	b, ok := stores[bucket]
	if !ok {
		store, err := r.store(ctx, bucket)
		if err != nil {
			return bill.Input{}, err
		}
		b = analyze.BillBucket{Store: store, Bucket: bucket, Log: r.log}
		stores[bucket] = b
	}
	return b.Input(ctx, key)
}

func (r *analyzing) firstProfile() string {
	if len(r.o.Profiles) > 0 {
		return r.o.Profiles[0]
	}
	return ""
}

// session adds to o what all sessions of this run have.
func (r *analyzing) session(ctx context.Context, o aws.Options) (*aws.Session, error) {
	o.S3Endpoint, o.Log, o.Stall, o.MaxBackoff = r.o.EndpointURL, r.log, r.env.Timing.Stall, r.env.Timing.MaxBackoff
	return aws.Load(ctx, o)
}

// store is a bucket, read with the first credentials.
func (r *analyzing) store(ctx context.Context, bucket string) (*s3.Store, error) {
	session, err := r.session(ctx, aws.Options{Profile: r.firstProfile()})
	if err != nil {
		return nil, err
	}
	return s3.New(session, bucket, s3.Options{Log: r.log, Patience: r.env.Timing.CompletePatience})
}

// askers are all credentials: those of the profiles, or else the default ones, and
// the roles that are assumed with the first of these.
func (r *analyzing) askers() []analyze.Asker {
	var all []analyze.Asker
	for _, p := range r.o.Profiles {
		all = append(all, r.asker("profile "+p, aws.Options{Profile: p}))
	}
	if len(all) == 0 {
		all = append(all, r.asker("the credentials of this run", aws.Options{}))
	}
	for _, role := range r.o.Roles {
		all = append(all, r.asker("role "+role, aws.Options{Profile: r.firstProfile(), RoleARN: role}))
	}
	return all
}

func (r *analyzing) asker(name string, o aws.Options) analyze.Asker {
	open := func(ctx context.Context, region string) (*aws.Session, error) {
		o := o
		o.Region = region
		return r.session(ctx, o)
	}
	a := analyze.Asker{
		Name: name, Named: o != aws.Options{},
		Open: func(ctx context.Context, region string) (analyze.Estate, func(context.Context) string, error) {
			s, err := open(ctx, region)
			if err != nil {
				return nil, nil, err
			}
			account, err := s.AccountID(ctx)
			return ec2.NewCatalog(s), func(ctx context.Context) string {
				if account != "" {
					return account
				}
				return r.whose(ctx, s)
			}, err
		},
	}
	if r.o.Exact {
		a.Exact = func(ctx context.Context, region string, all []snapshot.Snapshot) (analyze.ExactSizes, error) {
			s, err := open(ctx, region)
			if err != nil {
				return analyze.ExactSizes{}, err
			}
			return r.exact(ctx, s, region, all)
		}
	}
	return a
}

// whoseLimit is how long AWS may take to say whose credentials are, of which only
// words depend.
const whoseLimit = 10 * time.Second

func (r *analyzing) whose(ctx context.Context, s *aws.Session) string {
	ctx, stop := context.WithTimeout(ctx, whoseLimit)
	defer stop()
	account, err := s.AskAccountID(ctx)
	if err != nil {
		r.log.Debug("whose the credentials are is not known", "err", err)
	}
	return account
}

// exactJobs is how many volumes are looked at side by side; the client paces itself.
const exactJobs = 8

// exact lists blocks, once it has said what that costs, and unless that is too much.
func (r *analyzing) exact(ctx context.Context, s *aws.Session, region string, all []snapshot.Snapshot) (analyze.ExactSizes, error) {
	e := analyze.Exact{Lists: ebs.New(ebs.Config{Session: s}), Jobs: exactJobs, Log: r.log}
	n := e.Requests(all)
	price, known := r.o.Analysis.Table.Lists(region, n)
	say := cost.RegionCurrency(region).Format
	spoken := say(price)
	if !known {
		spoken = "not known"
	}
	r.log.Info("listing the blocks of snapshots", "region", region, "snapshots", len(all), "requests_at_most", n, "price_at_most", spoken)
	if r.o.Limited {
		switch r.spent = r.spent.Plus(price); {
		case !known:
			return analyze.ExactSizes{}, hint.Wrap(fmt.Errorf("%w: no price of list requests in %s is known", workflow.ErrTooDear, region),
				"--prices FILE gives one; without --max-cost it is done at any price")
		case r.spent > r.o.MaxCost:
			return analyze.ExactSizes{}, hint.Wrap(fmt.Errorf("%w: to list the blocks costs up to %s, --max-cost is %s", workflow.ErrTooDear, say(r.spent), say(r.o.MaxCost)),
				"raise --max-cost, or leave --exact out")
		}
	}
	task := r.console.Task(cmp.Or(region, "blocks"), 0)
	defer task.Done()
	e.Done = func(done, all int) { task.Stage(fmt.Sprintf("%d of %d snapshots", done, all)) }
	return e.Sizes(ctx, all)
}

func openFile(name string) (*os.File, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = hint.Wrap(err, "is it in another folder?")
	}
	return f, err
}
