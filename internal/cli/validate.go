package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// newValidate is the verb validate; run does it.
func newValidate(env Env, run func(context.Context, Env, MigrateOptions) error) *cobra.Command {
	var f migrateFlags
	cmd := &cobra.Command{
		Use:   "validate --bucket NAME (--all | --one | SNAPSHOT...) [FLAGS]",
		Short: "Prove that archives are what their snapshots hold",
		Long: `Read the archives of snapshots back from the bucket, in full, and the snapshots
again from new volumes, both at the same time, and compare them: every block of
an image; of files type, mode, owner, time, size, contents, link targets, hard
links, device numbers, extended attributes, ACLs and holes. Then the tag
snap-to-s3 goes from "migrated" to "validated", and the last lines say which
snapshots may now be deleted. Nothing is deleted here.

The archives are found whatever their compression and encryption are. Of several
of a snapshot the newest are compared, and the others are named; --dd,
--compression, --gpg-recipient and session keys say which are meant instead.
Those that the predecessor has left are compared in what they can hold, and what
could not be proven is said. A volume that migrate was to keep
(--keep-temp-volumes) is read again, and deleted after it went well.

What it costs is said before it starts: volumes, requests, and what storage
classes bill for being read. An archive that the keys at hand do not open, or
that must be thawed first, is refused before its snapshot is tagged.

A difference is named by its path or offset, and makes the exit status 3. To
validate as part of a migration: migrate --validate.`,
		Example: `  # All snapshots that are tagged snap-to-s3=migrated
  snap-to-s3 validate --all --bucket backups.example.com

  # What that would cost
  snap-to-s3 validate --all --bucket backups.example.com --dry-run

  # Two by name, whatever their tags say
  snap-to-s3 validate --bucket backups.example.com \
      snap-0123456789abcdef0 snap-0fedcba9876543210

  # An encrypted one, with the private key elsewhere: there, print the key ...
  aws s3 cp "s3://backups.example.com/vol-.../... snap-....1.tar.zstd.gpg" - |
      head -c 524288 | gpg --decrypt --show-session-key >/dev/null
  # ... and here, use it
  snap-to-s3 validate --bucket backups.example.com snap-0123456789abcdef0 \
      --gpg-session-key-file keys.txt

  # As the predecessor was called
  snap-to-s3 --validate --all --bucket backups.example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return err
			}
			o.ValidateOnly, o.Prefer = true, f.meant(cmd, o)
			return run(cmd.Context(), env, o)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitFailed, exitUsage, exitDifferent, exitClaimed, exitInterrupted),
	}
	f.defineValidate(cmd)
	return cmd
}

// defineValidate defines the flags of validate. Those that only a migration needs
// are taken too, and not shown: the predecessor took them, and scripts give them.
func (f *migrateFlags) defineValidate(cmd *cobra.Command) {
	f.storageClass = "STANDARD"
	f.which(cmd, "migrated")
	group(cmd, "Where the archives are", func(s *pflag.FlagSet) {
		s.StringVar(&f.bucket, "bucket", "", "`NAME` of the bucket; required")
		s.StringVar(&f.region, "region", "", "AWS `REGION` of the snapshots (default: this instance's)")
		s.StringVar(&f.endpointURL, "endpoint-url", "", "`URL` of another store that speaks S3")
	})
	group(cmd, "Which archives, where a snapshot has several (default: the newest)", func(s *pflag.FlagSet) {
		s.BoolVar(&f.dd, "dd", false, "images of the entire volume; with --dd=false, files of the partitions")
		s.StringVar(&f.compression, "compression", "zstd", "those compressed as `NAME` says: zstd or lz4")
		s.Lookup("compression").DefValue = "" // it is not what is meant without the flag
		s.StringArrayVar(&f.recipients, "gpg-recipient", nil, "encrypted ones, whatever `NAME` is; session keys mean those too")
	})
	group(cmd, "Encryption", func(s *pflag.FlagSet) { f.sessionKeys.define(s) })
	group(cmd, "How", func(s *pflag.FlagSet) {
		countVar(s, &f.jobs, "jobs", limits{1, maxJobs}, "`N` snapshots at once")
		s.StringVar(&f.volumeType, "volume-type", "gp3", "`TYPE` of the temporary volumes: "+words.Or(volumeTypes()))
		s.StringVar(&f.mountPoint, "mount-point", "/mnt", "`FOLDER` for mounts of kept volumes, and on kernels before 5.2 for all")
		s.BoolVar(&f.keepVolumes, "keep-temp-volumes", false, "leave the temporary volumes attached and mounted, and pay for them")
	})
	group(cmd, "How far to go", func(s *pflag.FlagSet) {
		s.BoolVar(&f.dryRun, "dry-run", false, "only say what would be done: what is read back, requests, dollars")
		s.StringVar(&f.maxCost, "max-cost", "", "do nothing if it would cost more `DOLLARS`")
		f.failing(s, "stop at the first snapshot that fails or differs")
	})
	group(cmd, "Taken and not needed", func(s *pflag.FlagSet) {
		levelVar(s, &f.level, "compression-level", 1, "")
		countVar(s, &f.streams, "upload-streams", limits{1, maxStreams}, "")
		s.StringVar(&f.sse, "sse", "", "")
		s.Lookup("sse").NoOptDefVal = "AES256"
		s.StringVar(&f.sseKMSKey, "sse-kms-key-id", "", "")
		s.VisitAll(func(flag *pflag.Flag) { flag.Hidden = true })
	})
	f.printed(cmd, "log every call to AWS, and which file is at hand")
}

// meant is which of several archives of a snapshot the flags name. The predecessor's
// command lines mean lz4 where they do not say: translateLegacy puts that in.
func (f *migrateFlags) meant(cmd *cobra.Command, o MigrateOptions) workflow.Prefer {
	given := cmd.Flags().Changed
	p := workflow.Prefer{Encrypted: len(o.Recipients) > 0 || len(o.SessionKeys) > 0}
	if given("compression") {
		p.Codec = o.Compression
	}
	if given("dd") {
		p.Kind = kindOf(o)
	}
	return p
}

// prefer is which archives of a snapshot a validation is of: those that a migration
// has just stored, or those that were asked for.
func (o MigrateOptions) prefer() workflow.Prefer {
	if o.ValidateOnly {
		return o.Prefer
	}
	encrypted := len(o.Recipients) > 0
	return workflow.Prefer{Codec: o.Compression, Encrypted: encrypted, Plain: !encrypted, Kind: kindOf(o)}
}

func kindOf(o MigrateOptions) layout.Kind {
	if o.Image {
		return layout.Image
	}
	return layout.Tar
}
