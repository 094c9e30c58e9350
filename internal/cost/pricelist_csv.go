package cost

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readCSV reads rows of a name and a value, then the row of column names, then
// prices.
func (l *listing) readCSV(r io.Reader) error {
	in := &allowance{r: r}
	rows := csv.NewReader(in)
	rows.FieldsPerRecord, rows.ReuseRecord = -1, true
	column := map[string]int{}
	known := items()
	for n := 1; ; n++ {
		in.left = maxValue
		row, err := rows.Read()
		if errors.Is(err, io.EOF) && len(column) == 0 {
			return errors.New("it has no row of column names that begins with SKU")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err // has line and column
		}
		switch {
		case len(column) > 0:
			if err := l.row(row, column, known); err != nil {
				return fmt.Errorf("row %d: %w", n, err)
			}
		case row[0] == "SKU":
			if column, err = columns(row); err != nil {
				return err
			}
		case n > 20:
			return errors.New("it has no row of column names that begins with SKU among its first 20")
		case len(row) > 1 && row[0] == "Publication Date":
			l.dated, _, _ = strings.Cut(row[1], "T")
		case len(row) > 1 && row[0] == "OfferCode":
			l.offer = strings.Clone(row[1])
		}
	}
}

// columns finds those that are needed; letter case differs between offers.
func columns(row []string) (map[string]int, error) {
	column := map[string]int{}
	for i, name := range row {
		column[strings.ToLower(strings.ReplaceAll(name, " ", ""))] = i
	}
	for _, name := range []string{"termtype", "startingrange", "unit", "priceperunit", "currency", "usagetype", "operation", "regioncode", "locationtype"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("it has no column %q", name)
		}
	}
	return column, nil
}

func (l *listing) row(row []string, column map[string]int, known map[usage]string) error {
	field := func(name string) string {
		if i := column[name]; i < len(row) {
			return row[i]
		}
		return ""
	}
	if field("termtype") != "OnDemand" {
		return nil
	}
	i, ok := product{field("usagetype"), field("operation"), field("regioncode"), field("locationtype")}.itemOf(known)
	if !ok {
		return nil
	}
	amount := field("priceperunit")
	if field("currency") != RegionCurrency(i.region).String() {
		amount = ""
	}
	i.region = strings.Clone(i.region)
	return l.take(i, offered{field("operation"), field("startingrange"), field("unit"), amount})
}
