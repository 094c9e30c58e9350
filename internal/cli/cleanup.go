package cli

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
)

// CleanupOptions is what a person asked cleanup to do, checked as far as that goes
// without asking AWS.
type CleanupOptions struct {
	Only        []string // ids; empty: all
	Tag         string
	Bucket      string // "": uploads are not looked for
	Region      string // "" means the instance's
	EndpointURL string // "" means AWS
	Yes         bool   // else it only shows

	JSON      bool // results as JSON Lines
	LogFormat ui.Format
	Verbose   bool
}

// newCleanup is the verb cleanup; run does it.
func newCleanup(env Env, run func(context.Context, Env, CleanupOptions) error) *cobra.Command {
	var f cleanupFlags
	cmd := &cobra.Command{
		Use:   "cleanup [--bucket NAME] [ID...] [FLAGS]",
		Short: "Show and take away what runs left behind",
		Long: `Show what runs have left behind on this machine, in the account's region and in
the bucket; with --yes take away what is nobody's any more. Without --yes nothing
is changed.

A run takes back what it made, and each migration takes away what killed runs of
its machine have left. This is for the rest. It goes by whose a thing is:

  dead-run     a killed run of this machine had it: its state file says so
  stale-owner  its owner, on any machine, was not renewed for 60 minutes: a
               temporary volume, or the claim on a snapshot
  upload       an upload in parts, begun over a day ago, of a snapshot that
               nobody works on; its parts cost money and show in no list
  no-owner     volumes, and tags "migrating" or "validating", without an owner:
               the predecessor's, which may be at work. They go only if each is
               named as an argument
  kept         kept by --keep-temp-volumes. A volume goes only if it is named
               as an argument: what is mounted of it here is unmounted first

Each step looks again at what says whose the thing is. A volume that another
instance has is never detached, nor one whose device is in use here. Snapshots
and objects are never deleted.

IDs of snapshots, volumes, uploads or runs restrict it to those, and it says of
which of them there is nothing.`,
		Example: `  # What is there, and what would be done
  snap-to-s3 cleanup --bucket backups.example.com

  # Do it
  snap-to-s3 cleanup --bucket backups.example.com --yes

  # A snapshot that the predecessor left at "migrating", and its volume
  snap-to-s3 cleanup snap-0123456789abcdef0 vol-0123456789abcdef0 --yes

  # A volume that was kept
  snap-to-s3 cleanup vol-0123456789abcdef0 --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return err
			}
			return run(cmd.Context(), env, o)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitFailed, exitUsage, exitInterrupted),
	}
	f.define(cmd)
	return cmd
}

// cleanupFlags is the command line of cleanup as it was typed.
type cleanupFlags struct {
	tag, bucket, region, endpointURL string
	dryRun, yes                      bool
	printFlags
}

func (f *cleanupFlags) define(cmd *cobra.Command) {
	group(cmd, "Where to look", func(s *pflag.FlagSet) {
		s.StringVar(&f.bucket, "bucket", "", "`NAME` of the bucket whose unfinished uploads are looked at (default: none)")
		s.StringVar(&f.tag, "tag", snapshot.UsualTag, "`NAME` of the tag that drives the work and marks our volumes")
		s.StringVar(&f.region, "region", "", "AWS `REGION` of snapshots and volumes (default: this instance's)")
		s.StringVar(&f.endpointURL, "endpoint-url", "", "`URL` of another store that speaks S3")
	})
	group(cmd, "What to do", func(s *pflag.FlagSet) {
		s.BoolVar(&f.yes, "yes", false, "take away what would be taken away; else it is only shown")
		s.BoolVar(&f.dryRun, "dry-run", false, "only show, which is the default")
	})
	f.printed(cmd, "log every call to AWS")
}

// options checks what was typed.
func (f *cleanupFlags) options(args []string) (CleanupOptions, error) {
	o := CleanupOptions{
		Tag: f.tag, Bucket: f.bucket, Region: f.region, EndpointURL: f.endpointURL, Yes: f.yes, Verbose: f.verbose,
	}
	if f.yes && f.dryRun {
		return o, usagef("leave one of the two out", "--yes and --dry-run: only one of them can be")
	}
	for _, id := range args {
		if err := checkLeftoverID(id); err != nil {
			return o, err
		}
		if !slices.Contains(o.Only, id) {
			o.Only = append(o.Only, id)
		}
	}
	if err := checkTag(f.tag); err != nil {
		return o, err
	}
	if f.bucket != "" {
		if err := checkBucket(f.bucket); err != nil {
			return o, err
		}
	}
	if err := checkRegion(f.region); err != nil {
		return o, err
	}
	if err := checkEndpoint(f.endpointURL); err != nil {
		return o, err
	}
	var err error
	o.JSON, o.LogFormat, err = checkForms(f.output, f.logFormat)
	return o, err
}

// runID is what runstate.NewRunID makes. An upload's id a store makes as it likes, but
// none so short as a word or a mistyped id of EC2.
var (
	runID    = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}-[a-z2-7]{8}$`)
	uploadID = regexp.MustCompile(`^[!-~]{20,}$`)
)

func checkLeftoverID(id string) error {
	switch {
	case strings.HasPrefix(id, "snap-"):
		if _, err := snapshot.ParseID(id); err != nil {
			return usagef("", "%w", err)
		}
	case strings.HasPrefix(id, "vol-"):
		if !snapshot.VolumeID(id).Valid() {
			return usagef("", "%q is not a volume id (vol- and 8 or 17 hex digits)", id)
		}
	case !runID.MatchString(id) && !uploadID.MatchString(id):
		return usagef("snap-to-s3 cleanup without ids shows all that there is, with their ids", "%q is not the id of a snapshot, volume, upload or run", id)
	}
	return nil
}
