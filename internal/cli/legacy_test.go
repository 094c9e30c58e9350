package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/hint"
)

// legacyTable has every form of command line that the predecessor's README shows,
// with each of its options, and what becomes of it. "!" begins an error.
func legacyTable() map[string]string {
	return map[string]string{
		// Not in the old style: untouched.
		"":                                   "",
		"--help":                             "--help",
		"-h":                                 "-h",
		"--version":                          "--version",
		"version --output json":              "version --output json",
		"migrate --all --bucket b":           "migrate --all --bucket b",
		"sandbox -- snap-to-s3 --migrate":    "sandbox -- snap-to-s3 --migrate",
		"sandbox snap-to-s3 --migrate --sse": "sandbox snap-to-s3 --migrate --sse",
		"--all --bucket b":                   "--all --bucket b",
		"-- --migrate":                       "-- --migrate",

		"--validate --help":      "validate --compression=lz4 --help",
		"--help --analyze f.csv": "analyze --help f.csv",

		// Migrating.
		"--migrate --all --bucket backups.example.com":      "migrate --compression=lz4 --all --bucket backups.example.com",
		"--migrate --one --bucket backups.example.com --dd": "migrate --compression=lz4 --one --bucket backups.example.com --dd",
		"--all --bucket backups.example.com --migrate":      "migrate --compression=lz4 --all --bucket backups.example.com",
		"--migrate --help":                                                          "migrate --compression=lz4 --help",
		"--help --migrate":                                                          "migrate --compression=lz4 --help",
		"--migrate --bucket b --snapshots snap-xxx":                                 "migrate --compression=lz4 --bucket b -- snap-xxx",
		"--migrate --snapshots snap-a snap-b snap-c --bucket b":                     "migrate --compression=lz4 --bucket b -- snap-a snap-b snap-c",
		"--migrate --snapshots snap-a --dd --snapshots snap-b snap-c":               "migrate --compression=lz4 --dd -- snap-a snap-b snap-c",
		"--snapshots snap-a --migrate":                                              "migrate --compression=lz4 -- snap-a",
		"--migrate --snapshots=snap-a snap-b":                                       "migrate --compression=lz4 --snapshots=snap-a snap-b",
		"--migrate --all --upload-streams 4":                                        "migrate --compression=lz4 --all --upload-streams 4",
		"--migrate --all --compression zstd":                                        "migrate --all --compression zstd",
		"--migrate --all --compression=zstd --compression-level 19":                 "migrate --all --compression=zstd --compression-level 19",
		"--migrate --all --compression-level 9":                                     "migrate --compression=lz4 --all --compression-level 9",
		"--migrate --all --sse --bucket b":                                          "migrate --compression=lz4 --all --sse=AES256 --bucket b",
		"--migrate --all --bucket b --sse":                                          "migrate --compression=lz4 --all --bucket b --sse=AES256",
		"--migrate --all --sse AES256":                                              "migrate --compression=lz4 --all --sse=AES256",
		"--migrate --all --sse aes256":                                              "migrate --compression=lz4 --all --sse=aes256",
		"--migrate --all --sse aws:kms --sse-kms-key-id 1234-abcd":                  "migrate --compression=lz4 --all --sse=aws:kms --sse-kms-key-id 1234-abcd",
		"--migrate --all --sse=aws:kms":                                             "migrate --compression=lz4 --all --sse=aws:kms",
		"--migrate --all --tag=backup":                                              "migrate --compression=lz4 --all --tag=backup",
		"--migrate --all --tag migrate":                                             "migrate --compression=lz4 --all --tag migrate",
		"--migrate --all --mount-point /mnt/x --keep-temp-volumes":                  "migrate --compression=lz4 --all --mount-point /mnt/x --keep-temp-volumes",
		"--migrate --all --volume-type standard":                                    "migrate --compression=lz4 --all --volume-type standard",
		"--migrate --gpg-recipient SnapToS3Example --bucket b --snapshots snap-xxx": "migrate --compression=lz4 --gpg-recipient SnapToS3Example --bucket b -- snap-xxx",
		"--migrate --keep-temp-volumes --gpg-recipient YourPublicKey":               "migrate --compression=lz4 --keep-temp-volumes --gpg-recipient YourPublicKey",
		"--migrate --all -- snap-a":                                                 "migrate --compression=lz4 --all -- snap-a",
		"--migrate --snapshots snap-a -- snap-b":                                    "migrate --compression=lz4 -- snap-a snap-b",

		// Validating.
		"--migrate --validate --all --bucket b":                             "migrate --validate --compression=lz4 --all --bucket b",
		"--validate --migrate --all --bucket b":                             "migrate --validate --compression=lz4 --all --bucket b",
		"--validate --all --bucket b":                                       "validate --compression=lz4 --all --bucket b",
		"--validate --bucket b --snapshots snap-a snap-b":                   "validate --compression=lz4 --bucket b -- snap-a snap-b",
		"--validate --all --bucket b --dd --upload-streams 4 --sse":         "validate --compression=lz4 --all --bucket b --dd --upload-streams 4 --sse=AES256",
		"--validate --bucket b --snapshots snap-xxx --gpg-session-key 9:D4": "validate --compression=lz4 --bucket b --gpg-session-key 9:D4 -- snap-xxx",

		// The one habit that both styles share.
		"migrate --all --sse --bucket b":   "migrate --all --sse=AES256 --bucket b",
		"migrate --all --sse aws:kms":      "migrate --all --sse=aws:kms",
		"migrate --sse snap-a":             "migrate --sse=AES256 snap-a",
		"migrate --sse=aws:kms -- --sse x": "migrate --sse=aws:kms -- --sse x",

		// What this version does not have.
		"--migrate --snapshots":            "!--snapshots needs at least one snapshot id",
		"--migrate --snapshots --bucket b": "!--snapshots needs at least one snapshot id",
		"--analyze --migrate f.csv":        "!--analyze stands for itself: neither --migrate nor --validate can be beside it",
		"--validate --analyze=f":           "!--analyze stands for itself: neither --migrate nor --validate can be beside it",

		// Analyzing.
		"--analyze":                         "analyze",
		"--analyze costreport-1.csv":        "analyze costreport-1.csv",
		"--analyze=costreport-1.csv.gz":     "analyze costreport-1.csv.gz",
		"--analyze -":                       "analyze -",
		"--analyze=-":                       "analyze -",
		"--analyze=-x":                      "analyze ./-x",
		"--analyze -- --analyze":            "analyze -- --analyze",
		"--output json --analyze f.csv":     "analyze --output json f.csv",
		"--analyze costreport-1.csv --help": "analyze costreport-1.csv --help",
	}
}

func TestTranslateLegacy(t *testing.T) {
	for in, want := range legacyTable() {
		got, err := translateLegacy(strings.Fields(in))
		if text, wantErr := strings.CutPrefix(want, "!"); wantErr {
			if err == nil || err.Error() != text || hint.Of(err) == "" {
				t.Errorf("%q: error %v (hint %q), want %q and a hint", in, err, hint.Of(err), text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func FuzzTranslateLegacy(f *testing.F) {
	for in := range legacyTable() {
		f.Add(strings.ReplaceAll(in, " ", "\n"))
	}
	f.Fuzz(func(t *testing.T, lines string) {
		args := strings.Split(lines, "\n")
		before := slices.Clone(args)
		once, err := translateLegacy(args)
		if !slices.Equal(args, before) {
			t.Fatalf("%q: its argument was changed to %q", before, args)
		}
		if err != nil {
			return
		}
		twice, err := translateLegacy(once)
		if err != nil || !slices.Equal(once, twice) {
			t.Fatalf("%q became %q, then %q, %v", args, once, twice, err)
		}
	})
}
