package cost

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
)

// Dated is the day whose prices the built-in table has.
const Dated = "2026-11-23"

//go:embed prices.csv
var prices string

// unit is what a price is for.
type unit string

const (
	gib       unit = "GiB"
	gibMonth  unit = "GiB-month"
	iopsMonth unit = "IOPS-month"
	tagMonth  unit = "tag-month"
	thousand  unit = "thousand" // requests or objects
	million   unit = "million"  // reads and writes
)

type price struct {
	amount Money // in the RegionCurrency of its region
	unit   unit
	source string
	dated  string // the day it is of
}

// item is one thing in one region that may have a price.
type item struct{ region, name string }

// Table is a list of prices, those of a region in its RegionCurrency. It is safe
// for concurrent use.
type Table struct{ prices map[item]price }

// Builtin returns the table that the program carries.
func Builtin() *Table {
	t, err := parseTable(prices)
	if err != nil {
		panic("cost: the built-in table: " + err.Error()) // a test reads it
	}
	return t
}

func parseTable(text string) (*Table, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.Comment, r.FieldsPerRecord = '#', 5
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	t := &Table{prices: make(map[item]price, len(rows))}
	for _, row := range rows {
		key := item{row[0], row[1]}
		amount, err := ParseMoney(row[3])
		if err != nil {
			return nil, fmt.Errorf("price of %s in %s: %w", key.name, key.region, err)
		}
		if _, twice := t.prices[key]; twice {
			return nil, fmt.Errorf("price of %s in %s: given twice", key.name, key.region)
		}
		if want := unitOf(key.name); unit(row[2]) != want {
			return nil, fmt.Errorf("price of %s in %s: per %s, not per %s", key.name, key.region, row[2], want)
		}
		t.prices[key] = price{amount, unit(row[2]), row[4], Dated}
	}
	return t, nil
}

// unitOf is the unit in which an item is priced; the arithmetic relies on it.
func unitOf(name string) unit {
	switch kind, rest, _ := strings.Cut(name, ":"); {
	case kind == "transfer", strings.HasSuffix(rest, "-retrieval"):
		return gib
	case rest == "standard-io":
		return million
	case strings.HasSuffix(rest, "-iops"):
		return iopsMonth
	case rest == "tag":
		return tagMonth
	}
	for _, requests := range []string{"-put", "-get", "-list", "-restore", "-transition", "-monitoring"} {
		if strings.HasSuffix(name, requests) {
			return thousand
		}
	}
	return gibMonth
}

// words names an item for a person.
func (i item) words() string {
	kind, rest, _ := strings.Cut(i.name, ":")
	switch class, of, _ := strings.Cut(rest, "-"); {
	case kind == "transfer":
		return fmt.Sprintf("data transfer from %s to %s", i.region, rest)
	case kind == "store":
		return "the store at this endpoint"
	case rest == "snapshot":
		return "EBS snapshots in " + i.region
	case rest == "snapshot-archive":
		return "EBS Snapshots Archive in " + i.region
	case rest == "snapshot-archive-retrieval":
		return "retrieval from EBS Snapshots Archive in " + i.region
	case class == "direct":
		return fmt.Sprintf("EBS direct API %s requests in %s", strings.ToUpper(of), i.region)
	case of == "io":
		return "reads of " + class + " volumes in " + i.region
	case of == "iops":
		return "provisioned IOPS of " + class + " volumes in " + i.region
	case kind == "ebs":
		return rest + " volumes in " + i.region
	case rest == "tag":
		return "object tags in " + i.region
	case of == "put", of == "get":
		return fmt.Sprintf("S3 %s requests of %s in %s", strings.ToUpper(of), class, i.region)
	case of == "restore":
		return fmt.Sprintf("S3 restore requests of %s in %s", class, i.region)
	case of == "retrieval":
		return fmt.Sprintf("S3 retrieval from %s in %s", class, i.region)
	case of == "transition":
		return fmt.Sprintf("S3 transitions to %s in %s", class, i.region)
	case of == "monitoring":
		return "S3 monitoring of " + class + " in " + i.region
	default:
		return "S3 " + rest + " in " + i.region
	}
}
