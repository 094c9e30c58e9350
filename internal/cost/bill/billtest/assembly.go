package billtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
)

const (
	reportName = "costs"
	prefix     = "reports/eu" // of its keys
	bucket     = "billing-example"
	chunks     = 2
)

// WriteAssembly writes one assembly of one month's report below dir, in two
// files, where AWS would deliver it, and its manifest, whose path it returns. The
// name is that of the assembly, which AWS makes of the time.
func (a *Account) WriteAssembly(dir string, f Format, lines iter.Seq[Line], name string) (string, error) {
	all := slices.Collect(lines)
	end := ".csv.gz"
	if f.Parquet() {
		end = ".snappy.parquet"
	}
	folder, manifests := a.layout(f, name)
	var keys []string
	for i := range chunks {
		part := all[i*len(all)/chunks : (i+1)*len(all)/chunks]
		key := path.Join(prefix, reportName, folder, fmt.Sprintf("%s-%05d%s", reportName, i+1, end))
		if err := a.WriteFile(filepath.Join(dir, filepath.FromSlash(key)), f, slices.Values(part)); err != nil {
			return "", err
		}
		keys = append(keys, key)
	}
	text, err := json.MarshalIndent(a.manifest(f, name, keys), "", "  ")
	if err != nil {
		return "", err
	}
	last := ""
	for _, m := range manifests {
		last = filepath.Join(dir, filepath.FromSlash(path.Join(prefix, reportName, m, reportName+"-Manifest.json")))
		err := cmp.Or(os.MkdirAll(filepath.Dir(last), 0o755), os.WriteFile(last, text, 0o644))
		if err != nil {
			return "", err
		}
	}
	return last, nil
}

// layout is where files and manifests are, below the report's name.
func (a *Account) layout(f Format, name string) (folder string, manifests []string) {
	if f == LegacyCSV || f == LegacyParquet {
		period := a.From.Format("20060102") + "-" + month(a.From).AddDate(0, 1, 0).Format("20060102")
		return path.Join(period, name), []string{path.Join(period, name), period}
	}
	partition := "BILLING_PERIOD=" + a.From.Format("2006-01")
	return path.Join("data", partition, name), []string{path.Join("metadata", partition, name)}
}

func (a *Account) manifest(f Format, name string, keys []string) map[string]any {
	if f == LegacyCSV || f == LegacyParquet {
		const layout = "20060102T150405.000Z"
		return map[string]any{
			"assemblyId": name, "account": a.Payer, "charset": "UTF-8", "contentType": "text/csv", "compression": "GZIP",
			"reportId": "r-1", "reportName": reportName, "bucket": bucket, "reportKeys": keys,
			"billingPeriod": map[string]string{"start": a.From.Format(layout), "end": month(a.From).AddDate(0, 1, 0).Format(layout)},
		}
	}
	var files []string
	for _, k := range keys {
		files = append(files, "s3://"+bucket+"/"+k)
	}
	return map[string]any{
		"account": a.Payer, "executionId": name, "dataFiles": files,
		"exportArn": "arn:aws:bcm-data-exports:us-east-1:" + a.Payer + ":export/" + reportName + "-1",
	}
}
