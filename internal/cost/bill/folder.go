package bill

import (
	"path"
	"regexp"
	"strings"
)

var (
	legacyPeriod = regexp.MustCompile(`^(\d{4})(\d\d)\d\d-\d{8}$`)        // 20240101-20240201
	exportPeriod = regexp.MustCompile(`(?i)^billing_period=(\d{4}-\d\d)`) // BILLING_PERIOD=2024-01
	hiveYear     = regexp.MustCompile(`^year=(\d{4})$`)                   // year=2024/month=1, of reports for Athena
	hiveMonth    = regexp.MustCompile(`^month=(\d{1,2})$`)
	stamped      = regexp.MustCompile(`^\d{4}-?\d\d-?\d\dT[\d:.-]+Z`) // assemblies that are named after their time
)

// where tells, by the elements of a path, what a file is of.
type where struct {
	report   string // what stands above the billing period
	period   string // "2024-01"; "" unknown
	assembly string // the folder below the period; "" where there is none
}

func whereabouts(name string) where {
	elements := strings.Split(name, "/")
	dirs := elements[:len(elements)-1]
	for i, e := range dirs {
		w := where{}
		rest := dirs[i+1:]
		if m := legacyPeriod.FindStringSubmatch(e); m != nil {
			w.period = m[1] + "-" + m[2]
		} else if m := exportPeriod.FindStringSubmatch(e); m != nil {
			w.period = m[1]
		} else if m := hiveYear.FindStringSubmatch(e); m != nil && len(rest) > 0 {
			n := hiveMonth.FindStringSubmatch(rest[0])
			if n == nil {
				continue
			}
			w.period = m[1] + "-" + ("0" + n[1])[len(n[1])-1:]
			rest = rest[1:]
		} else {
			continue
		}
		w.report = strings.Join(dirs[:i], "/")
		w.assembly = strings.Join(rest, "/")
		return w
	}
	return where{report: strings.Join(dirs, "/")}
}

func isManifest(name string) bool { return strings.EqualFold(path.Ext(name), ".json") }

// isData says whether a file of a folder is one of a report; others, such as
// AWS's SQL for Athena, are passed over.
func isData(name string) bool {
	name = strings.ToLower(name)
	for _, end := range []string{".csv", ".csv.gz", ".csv.zip", ".parquet", ".zip"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
