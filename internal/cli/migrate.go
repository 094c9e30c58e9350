package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/words"
)

// newMigrate is the verb migrate; run does it.
func newMigrate(env Env, run func(context.Context, Env, MigrateOptions) error) *cobra.Command {
	var f migrateFlags
	cmd := &cobra.Command{
		Use:   "migrate --bucket NAME (--all | --one | SNAPSHOT...) [FLAGS]",
		Short: "Move snapshots to a bucket",
		Long: `Store EBS snapshots in an S3 bucket: the files of each partition as a tar, or
with --dd the whole disk as an image. Both are compressed; tar, lz4, zstd and dd
bring them back.

Each snapshot becomes a temporary volume on this instance, is read, compressed
and uploaded; the volume is deleted. The snapshot itself stays. Its tag
snap-to-s3 goes from "migrate" to "migrating" to "migrated", so that several
machines can work on one list and a rerun goes on where the last one stopped.

A tar holds types, modes, owners, times to the nanosecond, hard links, devices,
holes, extended attributes, ACLs and capabilities. Filesystems are mounted where
nobody else sees them, after their journals were replayed. A partition without
files that Linux can read (boot loaders, EFI without vfat) is stored as an image
when it has at most 1 GiB; a larger one (LVM, RAID, LUKS) must be named with
--raw-partition or --skip-partition. Swap is left out.`,
		Example: `  # What would be done to all snapshots tagged snap-to-s3=migrate, and its cost
  snap-to-s3 migrate --all --bucket backups.example.com --dry-run

  # Do it, four at a time, into a cold class, for no more than 20 dollars
  snap-to-s3 migrate --all --bucket backups.example.com \
      --jobs 4 --storage-class DEEP_ARCHIVE --max-cost 20

  # Two snapshots by name, whatever their tags say, as images of the disks
  snap-to-s3 migrate --dd --bucket backups.example.com \
      snap-0123456789abcdef0 snap-0fedcba9876543210

  # A disk whose second partition is LVM, which becomes an image
  snap-to-s3 migrate --bucket backups.example.com --raw-partition 2 \
      snap-0123456789abcdef0

  # The files again, from the bucket, as root
  aws s3 cp "s3://backups.example.com/vol-.../... snap-....1.tar.zstd" - |
      zstd -d | tar -x -p --numeric-owner --xattrs --xattrs-include='*' \
      --acls -C FOLDER

  # The disk again, of an image
  aws s3 cp "s3://backups.example.com/vol-.../... snap-....img.zstd" - |
      zstd -d | sudo dd bs=1M of=/dev/DEVICE

  # Encrypted to a key whose private part is elsewhere
  snap-to-s3 migrate --all --bucket backups.example.com \
      --gpg-recipient backups@example.com

  # Proven before it is called done
  snap-to-s3 migrate --validate --all --bucket backups.example.com

  # As the predecessor was called
  snap-to-s3 --migrate --all --bucket backups.example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return err
			}
			return run(cmd.Context(), env, o)
		},
		DisableFlagsInUseLine: true,
		Annotations:           exitStatus(exitDone, exitFailed, exitUsage, exitDifferent, exitClaimed, exitInterrupted),
	}
	f.define(cmd)
	return cmd
}

// migrateFlags is the command line of migrate as it was typed.
type migrateFlags struct {
	all, one, dd, keepVolumes, dryRun, overwrite, failFast, validate bool
	snapshots                                                        []string
	tag, bucket, region, endpointURL, storageClass, sse, sseKMSKey   string
	mountPoint, volumeType, spool, compression, partSize, maxCost    string
	timeout                                                          string
	printFlags
	level, streams, jobs int
	raw, skip            []int
	recipients           []string
	sessionKeys          keyFlags
}

func (f *migrateFlags) define(cmd *cobra.Command) {
	f.which(cmd, "migrate")
	group(cmd, "Where to", func(s *pflag.FlagSet) {
		s.StringVar(&f.bucket, "bucket", "", "`NAME` of the bucket; required")
		s.StringVar(&f.storageClass, "storage-class", "STANDARD", "`CLASS` of the archives: "+words.Or(storageClasses()))
		s.StringVar(&f.sse, "sse", "", "server-side encryption `MODE`: AES256 or aws:kms (default: what the bucket says)")
		s.Lookup("sse").NoOptDefVal = "AES256"
		s.StringVar(&f.sseKMSKey, "sse-kms-key-id", "", "`ID` of the KMS key for --sse aws:kms (default: the account's key for S3)")
		s.StringVar(&f.region, "region", "", "AWS `REGION` of the snapshots (default: this instance's)")
		s.StringVar(&f.endpointURL, "endpoint-url", "", "`URL` of another store that speaks S3")
		s.BoolVar(&f.overwrite, "overwrite", false, "replace what stands under the archive's key, whole or not")
	})
	group(cmd, "How", func(s *pflag.FlagSet) {
		s.BoolVar(&f.dd, "dd", false, "an image of the entire volume, instead of the files of each partition")
		numbersVar(s, &f.raw, "raw-partition", "take partition `N` as an image, not its files; may be repeated")
		numbersVar(s, &f.skip, "skip-partition", "leave partition `N` out; may be repeated")
		s.StringVar(&f.compression, "compression", "zstd", "`NAME` of the compression: zstd, or lz4 (which --migrate of old takes)")
		levelVar(s, &f.level, "compression-level", 1, "`LEVEL`, 1 to 19 for zstd, 1 to 9 for lz4")
		countVar(s, &f.jobs, "jobs", limits{1, maxJobs}, "`N` snapshots at once")
		countVar(s, &f.streams, "upload-streams", limits{1, maxStreams}, "`N` parts at once to S3 for each snapshot; each takes memory for a part")
		s.StringVar(&f.partSize, "part-size", "", "`SIZE` of every part, 5MiB to 5GiB (default: from the size of the volume)")
		s.StringVar(&f.spool, "spool", "", "`FOLDER` where parts over 64 MiB wait, instead of in memory")
		s.StringVar(&f.volumeType, "volume-type", "gp3", "`TYPE` of the temporary volumes: "+words.Or(volumeTypes()))
		s.StringVar(&f.mountPoint, "mount-point", "/mnt", "`FOLDER` for mounts of kept volumes, and on kernels before 5.2 for all")
		s.BoolVar(&f.keepVolumes, "keep-temp-volumes", false, "leave the temporary volumes attached and mounted, and pay for them")
	})
	group(cmd, "Encryption", func(s *pflag.FlagSet) {
		s.StringArrayVar(&f.recipients, "gpg-recipient", nil, "encrypt to the public key of `NAME`, with gpg; may be repeated")
		f.sessionKeys.define(s)
		s.Lookup("gpg-session-key").Hidden, s.Lookup("gpg-session-key-file").Hidden = true, true // only to be told why not
	})
	group(cmd, "How far to go", func(s *pflag.FlagSet) {
		s.BoolVar(&f.validate, "validate", false, "prove what was stored before the tag says so, as the verb validate does")
		s.BoolVar(&f.dryRun, "dry-run", false, "only say what would be done: sizes, requests, dollars; what stands in the bucket is not looked at")
		s.StringVar(&f.maxCost, "max-cost", "", "do nothing if it would cost more `DOLLARS` once (the storage a month is not counted)")
		f.failing(s, "stop at the first snapshot that fails")
	})
	f.printed(cmd, "log every call to AWS, and which file is at hand")
}

// failing are the flags that end a run early.
func (f *migrateFlags) failing(s *pflag.FlagSet, fast string) {
	s.BoolVar(&f.failFast, "fail-fast", false, fast)
	s.StringVar(&f.timeout, "timeout", "", "stop after `DURATION` (90m, 6h, 2d), give back what is under way, and fail; a rerun goes on")
}

// which are the flags that choose snapshots, by themselves or by the tag's value.
func (f *migrateFlags) which(cmd *cobra.Command, value string) {
	group(cmd, "Which snapshots", func(s *pflag.FlagSet) {
		s.BoolVar(&f.all, "all", false, `all whose tag is set to "`+value+`"`)
		s.BoolVar(&f.one, "one", false, `any one whose tag is set to "`+value+`"`)
		s.StringArrayVar(&f.snapshots, "snapshots", nil, "these, by `ID`, whatever their tags say; the same as naming them without a flag")
		s.StringVar(&f.tag, "tag", snapshot.UsualTag, "`NAME` of the tag that drives the work and marks our volumes")
	})
}
