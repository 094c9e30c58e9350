package cli

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/ui"
)

// parseMigrate runs the command line up to where the work would begin.
func parseMigrate(t *testing.T, line string) (MigrateOptions, error) {
	t.Helper()
	var got MigrateOptions
	ran := false
	work := verbs{migrate: func(_ context.Context, _ Env, o MigrateOptions) error {
		got, ran = o, true
		return nil
	}}
	var out bytes.Buffer
	env := Env{Stdout: &out, Stderr: &out}.withDefaults()
	err := run(t.Context(), append([]string{"migrate"}, strings.Fields(line)...), env, work)
	if ran == (err != nil) || out.Len() > 0 {
		t.Errorf("%q: ran %v with error %v, printed %q", line, ran, err, out.String())
	}
	return got, err
}

func TestMigrateOptions(t *testing.T) {
	const a, b = snapshot.ID("snap-0123456789abcdef0"), snapshot.ID("snap-89abcdef")
	spool := t.TempDir()
	base := MigrateOptions{
		Tag: "snap-to-s3", Bucket: "backups.example.com", StorageClass: "STANDARD",
		Compression: "zstd", CompressionLevel: 1, UploadStreams: 1, Jobs: 1,
		VolumeType: "gp3", MountPoint: "/mnt", LogFormat: ui.FormatText, Image: true,
	}
	with := func(change func(o *MigrateOptions)) MigrateOptions {
		o := base
		change(&o)
		return o
	}
	for line, want := range map[string]MigrateOptions{
		"--all":   with(func(o *MigrateOptions) { o.All = true }),
		"--one":   with(func(o *MigrateOptions) { o.One = true }),
		string(a): with(func(o *MigrateOptions) { o.IDs = []snapshot.ID{a} }),
		"--snapshots " + string(a) + " " + string(b) + " --snapshots " + string(a): with(func(o *MigrateOptions) { o.IDs = []snapshot.ID{a, b} }),
		"-- " + string(b):                               with(func(o *MigrateOptions) { o.IDs = []snapshot.ID{b} }),
		"--all --jobs 21 --upload-streams 64":           with(func(o *MigrateOptions) { o.All, o.Jobs, o.UploadStreams = true, 21, 64 }),
		"--all --compression lz4 --compression-level 9": with(func(o *MigrateOptions) { o.All, o.Compression, o.CompressionLevel = true, "lz4", 9 }),
		"--all --sse":                                   with(func(o *MigrateOptions) { o.All, o.Encryption = true, objstore.Encryption{Mode: "AES256"} }),
		"--all --sse aes256":                            with(func(o *MigrateOptions) { o.All, o.Encryption = true, objstore.Encryption{Mode: "AES256"} }),
		"--all --sse aws:kms --sse-kms-key-id k": with(func(o *MigrateOptions) {
			o.All, o.Encryption = true, objstore.Encryption{Mode: "aws:kms", KMSKeyID: "k"}
		}),
		"--all --part-size 8MiB --storage-class deep_archive --volume-type io2": with(func(o *MigrateOptions) {
			o.All, o.PartSize, o.StorageClass, o.VolumeType = true, 8<<20, "DEEP_ARCHIVE", "io2"
		}),
		"--all --mount-point /a/../mnt/x/ --spool " + spool + " --keep-temp-volumes": with(func(o *MigrateOptions) {
			o.All, o.MountPoint, o.Spool, o.KeepTempVolumes = true, "/mnt/x", spool, true
		}),
		"--all --output json --log-format json -v --dry-run --overwrite --fail-fast": with(func(o *MigrateOptions) {
			o.All, o.JSON, o.LogFormat, o.Verbose, o.DryRun, o.Overwrite, o.FailFast = true, true, ui.FormatJSON, true, true, true, true
		}),
		"--all --tag=größe --region us-gov-west-1 --endpoint-url http://127.0.0.1:9000": with(func(o *MigrateOptions) {
			o.All, o.Tag, o.Region, o.EndpointURL = true, "größe", "us-gov-west-1", "http://127.0.0.1:9000"
		}),
		"--all --timeout 1d12h --dd=false": with(func(o *MigrateOptions) { o.All, o.Timeout, o.Image = true, 36*time.Hour, false }),
		"--all --bucket My_Old.Bucket":     with(func(o *MigrateOptions) { o.All, o.Bucket = true, "My_Old.Bucket" }),
	} {
		if !strings.Contains(line, "--bucket") {
			line = "--bucket backups.example.com " + line
		}
		got, err := parseMigrate(t, "--dd "+line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

func TestMaxCost(t *testing.T) {
	five, err := parseMigrate(t, "--dd --all --bucket bbb --max-cost 5")
	if err != nil {
		t.Fatal(err)
	}
	half, err := parseMigrate(t, "--dd --all --bucket bbb --max-cost 0.50")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := parseMigrate(t, "--dd --all --bucket bbb --max-cost $5")
	if err != nil {
		t.Fatal(err)
	}
	if five.MaxCost != 5*cost.Dollar || signed.MaxCost != five.MaxCost || half.MaxCost != cost.Dollar/2 {
		t.Errorf("5 is %v, $5 is %v, 0.50 is %v", five.MaxCost, signed.MaxCost, half.MaxCost)
	}
}

func TestMigrateRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for line, want := range map[string]string{
		"":                                "no snapshots chosen",
		"--all --one":                     "snapshots chosen in more than one way",
		"--all snap-89abcdef":             "snapshots chosen in more than one way",
		"--one --snapshots snap-89abcdef": "snapshots chosen in more than one way",
		"snap-xyz":                        `"snap-xyz" is not a snapshot id`,
		"--snapshots vol-89abcdef":        `"vol-89abcdef" is not a snapshot id`,
		"--all --tag=":                    "--tag is empty",
		"--all --tag aws:x":               "belong to AWS",
		"--all --tag a\x01b":              "cannot be seen",
		"--all --tag " + strings.Repeat("t", 121):        "longer than 120 characters",
		"--all --bucket=":                                "--bucket is missing",
		"--all --bucket s3://b":                          "an address, not a bucket's name",
		"--all --bucket b/prefix":                        "an address, not a bucket's name",
		"--all --bucket arn:aws:s3:::bbb":                "an ARN, not a bucket's name",
		"--all --bucket ab":                              "not a bucket's name",
		"--all --bucket 192.168.5.4":                     "not a bucket's name",
		"--all --bucket bük":                             "not a bucket's name",
		"--all --storage-class COLD":                     `--storage-class "COLD": no such class`,
		"--all --region us_east":                         "not the name of a region",
		"--all --endpoint-url s3.local":                  "not a http or https address",
		"--all --endpoint-url ftp://x":                   "not a http or https address",
		"--all --endpoint-url http://u:p@x":              "must not hold a user or password",
		"--all --sse rot13":                              `--sse "rot13": must be AES256 or aws:kms`,
		"--all --sse-kms-key-id k":                       "--sse-kms-key-id needs --sse aws:kms",
		"--all --sse --sse-kms-key-id k":                 "--sse-kms-key-id needs --sse aws:kms",
		"--all --compression gzip":                       "lz4 or zstd",
		"--all --compression-level 0":                    "1 to 19",
		"--all --compression-level 20":                   "1 to 19",
		"--all --compression lz4 --compression-level 10": "1 to 9",
		"--all --compression-level fast":                 `--compression-level "fast": not a whole number`,
		"--all --upload-streams 0":                       `--upload-streams "0": must be 1 to 64`,
		"--all --upload-streams 65":                      "must be 1 to 64",
		"--all --upload-streams -1":                      "must be 1 to 64",
		"--all --jobs 0":                                 `--jobs "0": must be 1 to 21`,
		"--all --jobs 22":                                "must be 1 to 21",
		"--all --jobs 0x2":                               "not a whole number",
		"--all --part-size 4MiB":                         `--part-size "4MiB": must be 5 MiB to 5 GiB`,
		"--all --part-size 6GiB":                         "must be 5 MiB to 5 GiB",
		"--all --part-size big":                          "is not a size",
		"--all --max-cost much":                          `--max-cost: "much" is not an amount`,
		"--all --max-cost -1":                            `--max-cost: "-1" is not an amount`,
		"--all --max-cost 0":                             "must be above 0",
		"--all --max-cost NaN":                           `--max-cost: "NaN" is not an amount`,
		"--all --max-cost 1e3":                           `--max-cost: "1e3" is not an amount`,
		"--all --timeout 0h":                             `--timeout "0h": must be above 0`,
		"--all --timeout tomorrow":                       `--timeout "tomorrow": not a duration`,
		"--all --mount-point /":                          "must not be the root",
		"--all --mount-point //":                         "must not be the root",
		"--all --mount-point /mnt/..":                    "must not be the root",
		"--all --mount-point=":                           "--mount-point is empty",
		"--all --volume-type nvme":                       `--volume-type "nvme": no such type`,
		"--all --spool " + missing:                       "no such file or directory",
		"--all --spool /dev/null":                        "not a folder",
		"--all --output xml":                             `--output "xml": must be text or json`,
		"--all --log-format xml":                         `--log-format "xml": must be text or json`,
		"--all --bucket":                                 "--bucket needs a value",
		"--all --all=maybe":                              `--all "maybe": invalid syntax`,
		"--all --source direct":                          "unknown flag --source",
		"--all --buckt b":                                "unknown flag --buckt",
		"--all -x":                                       "unknown flag -x",
	} {
		full := "--dd --bucket bbb " + line
		_, err := parseMigrate(t, full)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", line, err, want)
			continue
		}
		if code := exitCode(t.Context(), err); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d", line, code, exitUsage)
		}
		if strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "strconv") {
			t.Errorf("%q: error %q", line, err)
		}
	}
}

func TestUnknownFlagsSayWhatIsMeant(t *testing.T) {
	for line, want := range map[string]string{
		"--buckt b":         "did you mean --bucket?",
		"--snap x":          "did you mean --snapshots?",
		"--nothing-like-it": "snap-to-s3 migrate --help lists the flags",
	} {
		_, err := parseMigrate(t, line)
		if hint.Of(err) != want {
			t.Errorf("%q: hint %q, want %q", line, hint.Of(err), want)
		}
	}
}
