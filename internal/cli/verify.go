package cli

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/workflow"
)

// VerifyOptions is what a person asked verify to do.
type VerifyOptions struct {
	Subject     workflow.VerifySubject
	Bucket      string
	Region      string // "": the configured one
	EndpointURL string
	Depth       workflow.Depth
	Sample      float64 // of the frames, 0 to 1
	SessionKeys []*encrypt.SessionKey
	Timeout     time.Duration
	JSON        bool
	LogFormat   ui.Format
	Verbose     bool
}

// newVerify is the verb verify; run does it.
func newVerify(env Env, run func(context.Context, Env, VerifyOptions) error) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify (s3://BUCKET/KEY... | --bucket NAME (--all | SNAPSHOT...)) [FLAGS]",
		Short: "Prove that what is in the bucket is whole",
		Long: `Read archives back from the bucket and hold them to their records and entries:
every frame and its hash, every file and block, and the checksum of the object.
It needs neither the snapshots nor EC2 nor root, on any machine.

Snapshots are found by the list of manifests/ (s3:ListBucket); an address,
s3://BUCKET/KEY, needs s3:GetObject alone. Archives that the predecessor has left
are decoded to their end; that their contents are right only the snapshot can
tell (validate).

A difference is named, and makes the exit status 3.`,
		Example: `  # All that has a record, in full
  snap-to-s3 verify --all --bucket backups.example.com

  # Records, sizes and checksums alone: nothing is read back, nothing thawed
  snap-to-s3 verify --quick --all --bucket backups.example.com

  # One frame in a hundred
  snap-to-s3 verify --sample 1% --bucket backups.example.com \
      snap-0123456789abcdef0

  # One archive by its address
  snap-to-s3 verify "s3://backups.example.com/vol-.../... snap-....1.tar.zstd"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return err
			}
			return run(cmd.Context(), env, o)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitFailed, exitUsage, exitDifferent, exitInterrupted),
	}
	f.define(cmd)
	return cmd
}

// verifyFlags is the command line of verify as it was typed.
type verifyFlags struct {
	all, quick                          bool
	snapshots                           []string
	bucket, region, endpointURL, sample string
	timeout                             string
	sessionKeys                         keyFlags
	printFlags
}

func (f *verifyFlags) define(cmd *cobra.Command) {
	group(cmd, "Which archives", func(s *pflag.FlagSet) {
		s.BoolVar(&f.all, "all", false, "those of all snapshots that have a record in the bucket")
		s.StringArrayVar(&f.snapshots, "snapshots", nil, "those of these, by `ID`; the same as naming them without a flag")
		s.StringVar(&f.bucket, "bucket", "", "`NAME` of the bucket; needed unless addresses name it")
		s.StringVar(&f.region, "region", "", "AWS `REGION` to ask first (default: the configured one)")
		s.StringVar(&f.endpointURL, "endpoint-url", "", "`URL` of another store that speaks S3")
	})
	group(cmd, "How closely", func(s *pflag.FlagSet) {
		s.BoolVar(&f.quick, "quick", false, "records, sizes and checksums, as far as the store tells them without giving the archives")
		s.StringVar(&f.sample, "sample", "", "read `SHARE` of the frames, chosen at random: 5%")
		f.sessionKeys.define(s)
		s.StringVar(&f.timeout, "timeout", "", "stop after `DURATION` (90m, 6h, 2d), and fail")
	})
	f.printed(cmd, "log every call to AWS")
}

func (f *verifyFlags) options(args []string) (VerifyOptions, error) {
	o := VerifyOptions{Bucket: f.bucket, Region: f.region, EndpointURL: f.endpointURL, Depth: workflow.Whole, Verbose: f.verbose}
	for _, step := range []func(*VerifyOptions) error{
		func(o *VerifyOptions) error { return f.subject(o, args) },
		f.depth, f.rest,
	} {
		if err := step(&o); err != nil {
			return VerifyOptions{}, err
		}
	}
	return o, nil
}

func (f *verifyFlags) subject(o *VerifyOptions, args []string) error {
	o.Subject.All = f.all
	for _, arg := range slices.Concat(f.snapshots, args) {
		if address, ok := strings.CutPrefix(arg, "s3://"); ok {
			if err := f.address(o, address); err != nil {
				return err
			}
			continue
		}
		id, err := snapshot.ParseID(arg)
		if err != nil {
			return usagef("give snapshot ids, or addresses of archives: s3://BUCKET/KEY", "%w", err)
		}
		if !slices.Contains(o.Subject.IDs, id) {
			o.Subject.IDs = append(o.Subject.IDs, id)
		}
	}
	ways := 0
	for _, given := range []bool{o.Subject.All, len(o.Subject.IDs) > 0, len(o.Subject.Keys) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return usagef("give --all, snapshot ids, or addresses: s3://BUCKET/KEY", "no archives chosen")
	case ways > 1:
		return usagef("give one of --all, snapshot ids, or addresses", "archives chosen in more than one way")
	}
	return checkBucket(o.Bucket)
}

func (f *verifyFlags) address(o *VerifyOptions, address string) error {
	bucket, key, _ := strings.Cut(address, "/")
	if key == "" || strings.HasSuffix(key, "/") {
		return usagef("name an archive, or its snapshot's record in manifests/", "s3://%s: no key of an object", address)
	}
	if o.Bucket != "" && o.Bucket != bucket {
		return usagef("run it once for each bucket", "s3://%s is not in bucket %s", address, o.Bucket)
	}
	o.Bucket = bucket
	if !slices.Contains(o.Subject.Keys, key) {
		o.Subject.Keys = append(o.Subject.Keys, key)
	}
	return nil
}

func (f *verifyFlags) depth(o *VerifyOptions) error {
	if f.quick {
		o.Depth = workflow.Quick
	}
	if f.sample == "" {
		return nil
	}
	if f.quick {
		return usagef("leave one of the two out", "--quick and --sample")
	}
	share, err := strconv.ParseFloat(strings.TrimSuffix(f.sample, "%"), 64)
	if err != nil || math.IsNaN(share) || share <= 0 || share > 100 {
		return usagef("for example --sample 5%", "--sample %q: not a share above 0 and up to 100%%", f.sample)
	}
	o.Depth, o.Sample = workflow.Sampled, share/100
	return nil
}

func (f *verifyFlags) rest(o *VerifyOptions) (err error) {
	if err := checkRegion(f.region); err != nil {
		return err
	}
	if err := checkEndpoint(f.endpointURL); err != nil {
		return err
	}
	if o.SessionKeys, err = f.sessionKeys.read(); err != nil {
		return err
	}
	if f.timeout != "" {
		if o.Timeout, err = parseTimeout(f.timeout); err != nil {
			return usagef("for example --timeout 6h", "--timeout %q: %w", f.timeout, err)
		}
	}
	o.JSON, o.LogFormat, err = checkForms(f.output, f.logFormat)
	return err
}
