package cli

import (
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// MigrateOptions is what a person asked migrate to do, checked as far as that
// goes without asking AWS.
type MigrateOptions struct {
	// Exactly one of these three is set. IDs are in the order given, each once.
	All, One bool
	IDs      []snapshot.ID

	Tag              string
	Bucket           string
	Region           string // "" means the instance's
	EndpointURL      string // "" means AWS
	StorageClass     string
	Encryption       objstore.Encryption
	Compression      string
	CompressionLevel int
	UploadStreams    int
	Jobs             int
	PartSize         int64  // bytes; 0 means chosen for each object
	Spool            string // an existing folder, or ""
	VolumeType       string
	MountPoint       string // absolute
	KeepTempVolumes  bool

	AndValidate  bool            // what was stored
	ValidateOnly bool            // the verb validate: nothing is stored
	Prefer       workflow.Prefer // with it: which of several archives
	Recipients   []string        // of gpg
	SessionKeys  []*encrypt.SessionKey

	Image  bool          // one image of the volume; else the files of each partition
	Choice layout.Choice // of partitions; without Image

	DryRun, Overwrite, FailFast bool
	MaxCost                     cost.Money    // 0: no limit
	Timeout                     time.Duration // of the whole run; 0: no limit

	JSON      bool // results as JSON Lines
	LogFormat ui.Format
	Verbose   bool
}

const (
	// maxJobs is the number of device names that EC2 recommends for volumes,
	// /dev/sdf to /dev/sdz with the predecessor's letters: one for each job.
	maxJobs = 21
	// maxStreams bounds the memory one job can ask for: 64 parts of 8 MiB are
	// 512 MiB, and more streams than that fill no network.
	maxStreams = 64
	// minPart and maxPart are S3's limits of a part of a multipart upload
	// (S3 user guide, "Amazon S3 multipart upload limits").
	minPart, maxPart = 5 << 20, 5 << 30
	// maxPartition is the last number that a GPT of the size that tools take has.
	maxPartition = 1024
	// maxTagKey is EC2's limit of a tag's key (EC2 user guide, "Tag
	// restrictions"), less the longest suffix that is put behind it.
	maxTagKey = 128 - len("-mounted")
)

// storageClasses are those of S3 that a new object can have in a general purpose
// bucket and that are worth an archive (S3 API reference, PutObject).
func storageClasses() []string {
	return []string{"STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"}
}

// volumeTypes are those of EBS (EC2 API reference, CreateVolume).
func volumeTypes() []string {
	return []string{"gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"}
}

// options checks what was typed, in the order of the help, and stops at the
// first thing that is wrong.
func (f *migrateFlags) options(args []string) (MigrateOptions, error) {
	o := MigrateOptions{
		All: f.all, One: f.one, Tag: f.tag, Bucket: f.bucket, Region: f.region, EndpointURL: f.endpointURL,
		Compression: f.compression, CompressionLevel: f.level, UploadStreams: f.streams, Jobs: f.jobs,
		Spool: f.spool, VolumeType: f.volumeType, KeepTempVolumes: f.keepVolumes,
		AndValidate: f.validate, Recipients: f.recipients,
		DryRun: f.dryRun, Overwrite: f.overwrite, FailFast: f.failFast, Verbose: f.verbose,
	}
	for _, step := range []func(*MigrateOptions) error{
		func(o *MigrateOptions) error { return f.selection(o, args) },
		f.target, f.encryption, f.secrets, f.method, f.sizes, f.printing,
	} {
		if err := step(&o); err != nil {
			return MigrateOptions{}, err
		}
	}
	return o, nil
}

func (f *migrateFlags) selection(o *MigrateOptions, args []string) error {
	for _, s := range slices.Concat(f.snapshots, args) {
		id, err := snapshot.ParseID(s)
		if err != nil {
			return usagef("", "%w", err)
		}
		if !slices.Contains(o.IDs, id) {
			o.IDs = append(o.IDs, id)
		}
	}
	ways := 0
	for _, given := range []bool{f.all, f.one, len(o.IDs) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return usagef("give --all, --one, or snapshot ids", "no snapshots chosen")
	case ways > 1:
		return usagef("give one of --all, --one, or snapshot ids", "snapshots chosen in more than one way")
	}
	return checkTag(f.tag)
}

func checkTag(tag string) error {
	switch {
	case tag == "":
		return usagef("", "--tag is empty")
	case !utf8.ValidString(tag) || ui.Visible(tag) != tag:
		return usagef("", "--tag %q: has characters that cannot be seen", tag)
	case utf8.RuneCountInString(tag) > maxTagKey:
		return usagef("tags of ours put up to 8 characters behind it, and EC2 takes 128", "--tag %q: longer than %d characters", tag, maxTagKey)
	case strings.HasPrefix(strings.ToLower(tag), "aws:"):
		return usagef("", "--tag %q: tags that begin with aws: belong to AWS", tag)
	}
	return nil
}

func (f *migrateFlags) target(o *MigrateOptions) error {
	if err := checkBucket(f.bucket); err != nil {
		return err
	}
	o.StorageClass = strings.ToUpper(f.storageClass)
	if !slices.Contains(storageClasses(), o.StorageClass) {
		return usagef("one of "+words.Or(storageClasses()), "--storage-class %q: no such class", f.storageClass)
	}
	if err := checkRegion(f.region); err != nil {
		return err
	}
	if f.region != "" && !ec2Region.MatchString(f.region) {
		return usagef("for example --region us-east-1", "--region %q: not the name of a region of AWS, in which the snapshots are", f.region)
	}
	return checkEndpoint(f.endpointURL)
}

// ec2Region is how AWS names regions: where, which side of it, and a number, as in
// us-gov-west-1 (EC2 user guide, "Regions and Zones").
var ec2Region = regexp.MustCompile(`^[a-z]+(-[a-z]+)+-[0-9]+$`)

func checkRegion(name string) error {
	if !regionForm.MatchString(name) {
		return usagef("for example --region us-east-1", "--region %q: not the name of a region", name)
	}
	return nil
}

func checkEndpoint(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return usagef("for example --endpoint-url https://s3.example.com", "--endpoint-url %q: not a http or https address", address)
	}
	if u.User != nil {
		return usagef("credentials come from the environment or ~/.aws", "--endpoint-url: must not hold a user or password")
	}
	return nil
}

// regionForm is what can stand in a host name; stores other than AWS choose
// their own region names.
var regionForm = regexp.MustCompile(`^([a-z0-9]+(-[a-z0-9]+)*)?$`)

// bucketForm is the rule for buckets of today, and for those made in us-east-1
// before 2018, which had more letters and length (S3 user guide, "General purpose
// bucket naming rules").
var bucketForm = regexp.MustCompile(`^[A-Za-z0-9._-]{3,255}$`)

func checkBucket(name string) error {
	const next = "only the bucket's name, for example --bucket backups.example.com"
	_, notAnAddress := netip.ParseAddr(name)
	switch {
	case name == "":
		return usagef("name the bucket of the archives: --bucket NAME", "--bucket is missing")
	case strings.Contains(name, "://") || strings.Contains(name, "/"):
		return usagef(next, "--bucket %q: an address, not a bucket's name", name)
	case strings.HasPrefix(name, "arn:"):
		return usagef(next, "--bucket %q: an ARN, not a bucket's name", name)
	case !bucketForm.MatchString(name) || notAnAddress == nil:
		return usagef("3 to 63 of: a to z, 0 to 9, dot, dash", "--bucket %q: not a bucket's name", name)
	}
	return nil
}

func (f *migrateFlags) encryption(o *MigrateOptions) error {
	switch strings.ToLower(f.sse) {
	case "":
	case "aes256":
		o.Encryption.Mode = "AES256"
	case "aws:kms":
		o.Encryption.Mode = "aws:kms"
	default:
		return usagef("", "--sse %q: must be AES256 or aws:kms", f.sse)
	}
	if f.sseKMSKey != "" && o.Encryption.Mode != "aws:kms" {
		return usagef("add --sse aws:kms", "--sse-kms-key-id needs --sse aws:kms")
	}
	o.Encryption.KMSKeyID = f.sseKMSKey
	return nil
}

// secrets are what gpg is called with.
func (f *migrateFlags) secrets(o *MigrateOptions) (err error) {
	for _, name := range f.recipients {
		if strings.TrimSpace(name) == "" {
			return usagef("name a public key: an address, a name or a fingerprint", "--gpg-recipient is empty")
		}
	}
	if f.validate && objstore.Cold(o.StorageClass) {
		return usagef("store it in STANDARD, validate, and let a lifecycle rule move it to "+o.StorageClass+" (docs/lifecycle.md)",
			"--validate with --storage-class %s: such archives cannot be read back without a thaw", o.StorageClass)
	}
	o.SessionKeys, err = f.sessionKeys.read()
	return err
}

func (f *migrateFlags) method(o *MigrateOptions) error {
	o.Image = f.dd
	if err := f.partitions(o); err != nil {
		return err
	}
	if _, err := codec.New(f.compression, f.level); err != nil {
		return usagef("", "--compression, --compression-level: %w", err)
	}
	if !slices.Contains(volumeTypes(), f.volumeType) {
		return usagef("one of "+words.Or(volumeTypes()), "--volume-type %q: no such type", f.volumeType)
	}
	if f.mountPoint == "" {
		return usagef("", "--mount-point is empty")
	}
	folder, err := filepath.Abs(f.mountPoint)
	if err != nil {
		return usagef("", "--mount-point %q: %w", f.mountPoint, err)
	}
	if folder == "/" {
		return usagef("", "--mount-point %q: must not be the root of the file system", f.mountPoint)
	}
	o.MountPoint = folder
	if f.spool == "" {
		return nil
	}
	info, err := os.Stat(f.spool)
	if err == nil && !info.IsDir() {
		err = errors.New("not a folder")
	}
	if err != nil {
		return usagef("make the folder first, on a disk with room for the parts", "--spool %q: %w", f.spool, bare(err))
	}
	return nil
}

// partitions are numbers as Linux has them.
func (f *migrateFlags) partitions(o *MigrateOptions) error {
	for _, list := range []struct {
		flag    string
		numbers []int
		to      *[]int
	}{{"--raw-partition", f.raw, &o.Choice.Raw}, {"--skip-partition", f.skip, &o.Choice.Skip}} {
		if o.Image && len(list.numbers) > 0 {
			return usagef("leave one of the two out", "%s and --dd: an image holds the whole disk", list.flag)
		}
		for _, n := range list.numbers {
			if n < 1 || n > maxPartition {
				return usagef("the number that Linux gives the partition", "%s %d: must be 1 to %d", list.flag, n, maxPartition)
			}
		}
		*list.to = slices.Compact(slices.Sorted(slices.Values(list.numbers)))
	}
	for _, n := range o.Choice.Raw {
		if slices.Contains(o.Choice.Skip, n) {
			return usagef("leave one of the two out", "partition %d: --raw-partition and --skip-partition", n)
		}
	}
	return nil
}

func (f *migrateFlags) sizes(o *MigrateOptions) error {
	if f.partSize != "" {
		n, err := ui.ParseBytes(f.partSize)
		if err != nil {
			return usagef("", "--part-size: %w", err)
		}
		if n < minPart || n > maxPart {
			return usagef("", "--part-size %q: must be %s to %s", f.partSize, ui.Bytes(minPart), ui.Bytes(maxPart))
		}
		o.PartSize = n
	}
	if f.maxCost != "" {
		limit, err := cost.ParseMoney(f.maxCost)
		if err != nil {
			return usagef("", "--max-cost: %w", err)
		}
		if limit <= 0 {
			return usagef("--dry-run shows what it would cost", "--max-cost %q: must be above 0", f.maxCost)
		}
		o.MaxCost = limit
	}
	if f.timeout != "" {
		limit, err := parseTimeout(f.timeout)
		if err != nil {
			return usagef("for example --timeout 6h", "--timeout %q: %w", f.timeout, err)
		}
		o.Timeout = limit
	}
	return nil
}

func (f *migrateFlags) printing(o *MigrateOptions) (err error) {
	o.JSON, o.LogFormat, err = checkForms(f.output, f.logFormat)
	return err
}

// checkForms reads how results and log lines are to be printed.
func checkForms(output, logFormat string) (json bool, log ui.Format, err error) {
	if output != "text" && output != "json" {
		return false, "", usagef("", "--output %q: must be text or json", output)
	}
	log = ui.Format(logFormat)
	if log != ui.FormatText && log != ui.FormatJSON {
		return false, "", usagef("", "--log-format %q: must be text or json", logFormat)
	}
	return output == "json", log, nil
}
