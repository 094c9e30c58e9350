package bill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"

	"snap-to-s3/internal/hint"
)

const (
	maxManifest = 16 << 20 // a report with thousands of tags has a megabyte of columns
	maxFiles    = 100_000
)

// manifest is what AWS writes beside a report's files: *-Manifest.json, of
// legacy reports and of Data Exports
// (https://docs.aws.amazon.com/cur/latest/userguide/understanding-report-versions.html,
// https://docs.aws.amazon.com/cur/latest/userguide/dataexports-export-delivery.html).
type manifest struct {
	Name string `json:"-"` // of the file

	Report    string   `json:"reportName"`
	Account   string   `json:"account"`
	Assembly  string   `json:"assemblyId"`
	Keys      []string `json:"reportKeys"` // of a legacy report
	ExportARN string   `json:"exportArn"`
	Execution string   `json:"executionId"`
	DataFiles []string `json:"dataFiles"` // of Data Exports: "s3://bucket/key"
	Bucket    string   `json:"bucket"`
	Period    struct {
		Start string `json:"start"` // "20240101T000000.000Z"
	} `json:"billingPeriod"`
}

var errNothingBeside = errors.New("nothing is known of what stands beside it")

func parseManifest(name string, r io.Reader) (*manifest, error) {
	const next = "the manifest of a report is named REPORT-Manifest.json, and lies above its files"
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", name, err)
	}
	if len(text) > maxManifest {
		return nil, hint.Wrap(fmt.Errorf("read manifest %s: it is larger than %d MiB", name, maxManifest>>20), next)
	}
	m := &manifest{Name: name}
	if err := json.Unmarshal(text, m); err != nil {
		if bad, ok := errors.AsType[*json.SyntaxError](err); ok {
			upTo := string(text[:min(bad.Offset, int64(len(text)))])
			line := strings.Count(upTo, "\n") + 1
			err = fmt.Errorf("line %d, column %d: %w", line, len(upTo)-strings.LastIndexByte(upTo, '\n')-1, err)
		}
		return nil, hint.Wrap(fmt.Errorf("read manifest %s: %w", name, err), next)
	}
	switch n := len(m.files()); {
	case n == 0:
		return nil, hint.Wrap(fmt.Errorf("%s is JSON, but names no files of a report (reportKeys, dataFiles)", name), next)
	case n > maxFiles:
		return nil, fmt.Errorf("manifest %s names more than %d files", name, maxFiles)
	}
	return m, nil
}

// files are the keys of what it names, without the bucket.
func (m *manifest) files() []string {
	if len(m.DataFiles) == 0 {
		return m.Keys
	}
	keys := make([]string, len(m.DataFiles))
	for i, f := range m.DataFiles {
		keys[i] = f
		if u, ok := strings.CutPrefix(f, "s3://"); ok {
			if _, key, ok := strings.Cut(u, "/"); ok {
				keys[i] = key
			}
		}
	}
	return keys
}

// report is what its assemblies have in common.
func (m *manifest) report() string {
	return m.Account + "\x00" + cmp.Or(m.ExportARN, m.Report, m.Name)
}

// key is what only one assembly of counts: a report and a period.
func (m *manifest) key() string { return m.report() + "\x00" + m.period() }

// period is the billing period, "2024-01"; "" unknown.
func (m *manifest) period() string {
	if s := m.Period.Start; len(s) >= 6 {
		s = strings.ReplaceAll(s, "-", "")
		return s[:4] + "-" + s[4:6]
	}
	for _, name := range append([]string{m.Name}, m.files()...) {
		if w := whereabouts(name); w.period != "" {
			return w.period
		}
	}
	return ""
}

// parts are its files, found beside it.
func (m *manifest) parts(ctx context.Context, at Input, assembly int) ([]part, error) {
	if at.Beside == nil {
		return nil, fmt.Errorf("%s is the manifest of a report: %w", at.Name, errNothingBeside)
	}
	var parts []part
	for _, key := range m.files() {
		in, err := at.Beside(ctx, key)
		if err != nil && strings.Contains(key, "%") { // keys with "=" may be escaped
			if plain, e := url.PathUnescape(key); e == nil {
				in, err = at.Beside(ctx, plain)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s names %s, which is not beside it", at.Name, key)
			return nil, hint.Wrap(err, "download the report's whole folder, for example: aws s3 sync "+hint.Quote(m.location(key))+" .")
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of manifest %s: %w", key, at.Name, err)
		}
		parts = append(parts, part{in, assembly})
	}
	return parts, nil
}

// location is where a file was delivered to.
func (m *manifest) location(key string) string {
	bucket := cmp.Or(m.Bucket, "BUCKET")
	for _, f := range m.DataFiles {
		if u, ok := strings.CutPrefix(f, "s3://"); ok {
			bucket, _, _ = strings.Cut(u, "/")
			break
		}
	}
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		key = key[:i]
	}
	return "s3://" + bucket + "/" + key
}
