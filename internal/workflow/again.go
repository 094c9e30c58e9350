package workflow

import (
	"slices"
	"strconv"
	"strings"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// again is the command that makes the archives of a shelf again, in their coding: in
// another one they would only stand beside these. Of the predecessor's, ours take the
// place. To whom those were encrypted their names do not say, and what was encrypted
// must not be stored in plain: RECIPIENT stands for it.
func (m *Migrator) again(s snapshot.Snapshot, sh *shelf) string {
	args := []string{"snap-to-s3", "migrate", "--overwrite", "--bucket", m.Bucket}
	add := func(flag, value, usual string) {
		if value != usual && value != "" {
			args = append(args, flag, value)
		}
	}
	add("--region", m.Pricing.Region, "")
	add("--endpoint-url", m.EndpointURL, "")
	add("--tag", m.Tag, snapshot.UsualTag)
	if sh.wholeDisk() {
		args = append(args, "--dd")
	}
	add("--compression", sh.coding.codec, "zstd")
	if len(sh.archives) > 0 {
		a := sh.archives[0] // the others are stored alike
		if a.record != nil && a.record.Level > 0 {
			add("--compression-level", strconv.Itoa(a.record.Level), "1")
		}
		add("--storage-class", a.info.StorageClass, "STANDARD")
		if a.info.Encryption.Mode == "aws:kms" {
			args = append(args, "--sse=aws:kms")
			add("--sse-kms-key-id", a.info.Encryption.KMSKeyID, "")
		}
	}
	for _, name := range m.recipientsOf(sh) {
		add("--gpg-recipient", name, "")
	}
	if sh.record != nil && sh.record.Choice != nil {
		for _, n := range sh.record.Choice.Raw {
			add("--raw-partition", strconv.Itoa(n), "")
		}
		for _, n := range sh.record.Choice.Skip {
			add("--skip-partition", strconv.Itoa(n), "")
		}
	}
	args = append(args, string(s.ID))
	for i, arg := range args {
		args[i] = hint.Quote(arg)
	}
	return strings.Join(args, " ")
}

// recipientsOf names the keys that the archives of a shelf are encrypted to, so that
// gpg takes these very subkeys; those of this run where their records do not say.
func (m *Migrator) recipientsOf(sh *shelf) []string {
	if !sh.coding.encrypted {
		return nil
	}
	subkeys := m.subkeys()
	if len(sh.archives) > 0 && sh.archives[0].record != nil {
		subkeys = sh.archives[0].record.Recipients
	}
	if len(subkeys) == 0 {
		return []string{"RECIPIENT"}
	}
	var names []string
	for _, subkey := range subkeys {
		names = append(names, subkey+"!")
	}
	return names
}

// wholeDisk tells whether the archive is an image of the whole volume. A disk of which
// a partition is archived as an image has a geometry in its record.
func (sh *shelf) wholeDisk() bool {
	if sh.record != nil {
		return sh.record.Geometry == nil
	}
	return sh.coding.kind == layout.Image && !slices.ContainsFunc(sh.archives, func(a archived) bool { return a.part != layout.Whole })
}
