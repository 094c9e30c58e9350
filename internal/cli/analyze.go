package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snap-to-s3/internal/snapshot"
)

// newAnalyze is the verb analyze; run does it.
func newAnalyze(env Env, run func(context.Context, Env, AnalyzeOptions) error) *cobra.Command {
	var f analyzeFlags
	cmd := &cobra.Command{
		Use:   "analyze [FILE | - | s3://BUCKET/KEY | DIR]... [FLAGS]",
		Short: "Show what snapshots cost, and what moving them saves",
		Long: `Read bills of AWS, tell what each snapshot costs, and what it would cost in each
storage class of S3 and in EBS Snapshots Archive: what to move, where to, what
that saves, and when it has paid back. Nothing is changed, unless --tag-plan and
--yes are given.

Bills are Cost and Usage Reports with resource ids: legacy CSV (plain, gzip, zip)
and Parquet, CUR 2.0, and FOCUS with AWS's columns; files, manifests, or folders,
of which the newest assembly of each month counts; on this machine, in a bucket,
or on standard input, which is also read where nothing is named.

What bills do not tell, EC2 does: volumes, dates, and what holds a snapshot (AMIs,
locks, AWS Backup, sharing), in each region of the bill with the credentials of
this run and those of --profile and --role-arn. Where it cannot be asked, that is
said, and the rest goes on; but if credentials that are named so work nowhere, the
exit status is 1, with the report written. --offline does not ask. --live needs no
bill: sizes are then estimates between what EC2 tells, and with --exact exact.
It runs on any machine, without root, and needs rights to read alone: docs/iam.md.

Snapshots that are tagged migrated or validated are not moved again; what deleting
the validated ones saves is said.

Amounts are in the currency of the bill, with --live in that of the regions: CNY in
China, else USD. Nothing is converted, and only prices in that currency count. The
program carries those of USD; --prices reads others.

With --output csv there is one line a snapshot under a line of names. gib is of
the standard tier; archive_gib of the archive tier. Columns of amounts are named by
their currency, as usd_month; they are empty where no price is known. Names and
descriptions that a spreadsheet would take for a formula get an apostrophe in front.`,
		Example: `  # The report of a month
  snap-to-s3 analyze costreport-1.csv.gz

  # The newest of each month, from the bucket, and a page to look at
  snap-to-s3 analyze s3://bills.example.com/reports/cur/ --html report.html

  # Archives compress 2:1, it must pay back within half a year
  snap-to-s3 analyze report.parquet --ratio 2:1 --payback 6

  # Tag what pays back, so that migrate --all moves it; first see what that is
  snap-to-s3 analyze report.parquet --payback 6 --tag-plan
  snap-to-s3 analyze report.parquet --payback 6 --tag-plan --yes

  # Without a bill, in two regions
  snap-to-s3 analyze --live --exact --region us-east-1 --region eu-west-1

  # As the predecessor was called
  snap-to-s3 --analyze < costreport-1.csv.gz`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return err
			}
			if len(o.Inputs) == 0 && !o.Live {
				if env.IsTerminal(env.Stdin) {
					return usagef("name a bill, or give one on standard input; --live needs none", "no bill is named")
				}
				o.Inputs = []string{"-"}
			}
			return run(cmd.Context(), env, o)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitFailed, exitUsage, exitInterrupted),
	}
	f.define(cmd)
	return cmd
}

// analyzeFlags is the command line of analyze as it was typed.
type analyzeFlags struct {
	offline, live, exact                 bool
	regions, profiles, roles             []string
	endpointURL                          string
	classes, prices                      []string
	ratio, bucket, instancePrice, source string
	payback, overlap                     int
	html, plan, tag, maxCost             string
	tagPlan, yes                         bool
	timeout, output, logFormat           string
	verbose                              bool
}

func (f *analyzeFlags) define(cmd *cobra.Command) {
	group(cmd, "What is asked", func(s *pflag.FlagSet) {
		s.BoolVar(&f.offline, "offline", false, "do not ask EC2: the bill alone")
		s.BoolVar(&f.live, "live", false, "ask EC2 alone: no bill")
		s.BoolVar(&f.exact, "exact", false, "with --live, list the blocks of all snapshots; its price is said first")
		s.StringVar(&f.maxCost, "max-cost", "", "with --exact, list nothing if that costs more than `AMOUNT`, in the currency of the regions")
		s.StringArrayVar(&f.regions, "region", nil, "AWS `REGION`, several times for several (default: those of the bill; with --live the configured one)")
		s.StringArrayVar(&f.profiles, "profile", nil, "ask with the credentials of this `PROFILE`, several times for several")
		s.StringArrayVar(&f.roles, "role-arn", nil, "ask as the role with this `ARN`, too, assumed with the other credentials")
		s.StringVar(&f.endpointURL, "endpoint-url", "", "`URL` of another store that speaks S3")
	})
	group(cmd, "What it is reckoned with", func(s *pflag.FlagSet) {
		s.StringArrayVar(&f.classes, "storage-class", nil, "only this `CLASS`, several times for several; EBS_ARCHIVE is EBS Snapshots Archive")
		s.StringVar(&f.ratio, "ratio", "", "archives compress `N:1` (default 1:1)")
		s.StringVar(&f.bucket, "bucket", "", "measure the ratio of archives in bucket `NAME`")
		countVar(s, &f.payback, "payback", limits{0, 1200}, "a move must pay back within `MONTHS`; 0 is no limit")
		countVar(s, &f.overlap, "overlap", limits{0, 3660}, "`DAYS` for which snapshot and archive are both kept")
		s.StringVar(&f.source, "source", "volume", "snapshots are read by `WAY` volume (temporary ones) or direct (EBS direct APIs)")
		s.StringVar(&f.instancePrice, "instance-price", "", "`AMOUNT` an hour of the instance that moves them, in the currency of the bill")
		s.StringArrayVar(&f.prices, "prices", nil, "take prices from `FILE`, an offer file of the AWS Price List; several times for several")
	})
	group(cmd, "What is done", func(s *pflag.FlagSet) {
		s.StringVar(&f.html, "html", "", "write a page to `FILE`")
		s.StringVar(&f.plan, "plan", "", "write which snapshots to move to `FILE`, as JSON")
		s.BoolVar(&f.tagPlan, "tag-plan", false, "show which snapshots would be tagged, so that migrate --all moves them")
		s.BoolVar(&f.yes, "yes", false, "with --tag-plan, tag them")
		s.StringVar(&f.tag, "tag", snapshot.UsualTag, "`NAME` of the tag that drives the work")
		s.StringVar(&f.timeout, "timeout", "", "stop after `DURATION` (90m, 6h, 2d), and fail")
	})
	group(cmd, "What is printed", func(s *pflag.FlagSet) {
		s.StringVar(&f.output, "output", "text", "results as `FORM` text, json (one JSON object a line) or csv")
		s.StringVar(&f.logFormat, "log-format", "text", "log lines as `FORM` text or json")
		s.BoolVarP(&f.verbose, "verbose", "v", false, "log every call to AWS")
		s.BoolP("help", "h", false, "show this page")
	})
}
