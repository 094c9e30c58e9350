package billtest

import (
	"archive/zip"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Format is a form that AWS writes bills in.
type Format int

// The forms.
const (
	LegacyCSV Format = iota
	LegacyParquet
	CUR2CSV
	CUR2Parquet
	FocusCSV
	FocusParquet
)

// Formats are all of them.
func Formats() []Format {
	return []Format{LegacyCSV, LegacyParquet, CUR2CSV, CUR2Parquet, FocusCSV, FocusParquet}
}

func (f Format) String() string {
	return [...]string{"legacy-csv", "legacy-parquet", "cur2-csv", "cur2-parquet", "focus-csv", "focus-parquet"}[f]
}

// Parquet says whether a form is Parquet.
func (f Format) Parquet() bool { return f == LegacyParquet || f == CUR2Parquet || f == FocusParquet }

// Write writes lines in a form, not compressed but as Parquet does.
func (a *Account) Write(w io.Writer, f Format, lines iter.Seq[Line]) error {
	switch f {
	case LegacyParquet, CUR2Parquet:
		return writeParquet(w, lines, func(l Line) curRow { return a.cur(l) })
	case FocusParquet:
		return writeParquet(w, lines, func(l Line) focusRow { return a.focus(l) })
	}
	table := a.legacyTable()
	switch f {
	case CUR2CSV:
		table = a.cur2Table()
	case FocusCSV:
		table = a.focusTable()
	}
	c := csv.NewWriter(w)
	row := make([]string, len(table))
	for i := range table {
		row[i] = table[i].name
	}
	if err := c.Write(row); err != nil {
		return err
	}
	for l := range lines {
		for i := range table {
			row[i] = table[i].value(&l)
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// WriteFile writes lines to a file, compressed as its name ends: .gz, .zip.
func (a *Account) WriteFile(path string, f Format, lines iter.Seq[Line]) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := file.Close(); err == nil {
			err = e
		}
	}()
	switch filepath.Ext(path) {
	case ".gz":
		z, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
		if err != nil {
			return err
		}
		if err := a.Write(z, f, lines); err != nil {
			return err
		}
		return z.Close()
	case ".zip":
		z := zip.NewWriter(file)
		entry, err := z.Create(strings.TrimSuffix(filepath.Base(path), ".zip"))
		if err != nil {
			return err
		}
		if err := a.Write(entry, f, lines); err != nil {
			return err
		}
		return z.Close()
	}
	return a.Write(file, f, lines)
}

// column is one column of a CSV.
type column struct {
	name  string
	value func(*Line) string
}

func text(name, value string) column { return column{name, func(*Line) string { return value }} }

// decimal writes a number of units.
func decimal(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%d.%010d", sign, n/one, n%one)
}

func month(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) }

const (
	zulu  = "2006-01-02T15:04:05Z"
	milli = "2006-01-02T15:04:05.000Z"
)

// invoice is the id of a line's invoice: none before the month is over.
func (a *Account) invoice(l *Line) string {
	if month(l.From).AddDate(0, 1, 0).After(a.To) {
		return ""
	}
	return "1" + l.From.Format("200601")
}

// names of columns in legacy reports, and in CUR 2.0.
type names struct{ legacy, cur2 string }

// curColumns are those of both CURs, in AWS's order, with some that nobody here reads.
func (a *Account) curColumns(layout string) []struct {
	names
	value func(*Line) string
} {
	is := func(s string) func(*Line) string { return func(*Line) string { return s } }
	interval := func(l *Line) string { return l.From.Format(zulu) + "/" + l.To.Format(zulu) }
	return []struct {
		names
		value func(*Line) string
	}{
		{names{"identity/LineItemId", "identity_line_item_id"}, func(l *Line) string { return l.ID }},
		{names{"identity/TimeInterval", "identity_time_interval"}, interval},
		{names{"bill/InvoiceId", "bill_invoice_id"}, a.invoice},
		{names{"bill/BillingEntity", "bill_billing_entity"}, is("AWS")},
		{names{"bill/BillType", "bill_bill_type"}, is("Anniversary")},
		{names{"bill/PayerAccountId", "bill_payer_account_id"}, is(a.Payer)},
		{names{"bill/BillingPeriodStartDate", "bill_billing_period_start_date"}, func(l *Line) string { return month(l.From).Format(layout) }},
		{names{"bill/BillingPeriodEndDate", "bill_billing_period_end_date"}, func(l *Line) string { return month(l.From).AddDate(0, 1, 0).Format(layout) }},
		{names{"lineItem/UsageAccountId", "line_item_usage_account_id"}, is(a.ID)},
		{names{"lineItem/LineItemType", "line_item_line_item_type"}, func(l *Line) string { return l.Type }},
		{names{"lineItem/UsageStartDate", "line_item_usage_start_date"}, func(l *Line) string { return l.From.Format(layout) }},
		{names{"lineItem/UsageEndDate", "line_item_usage_end_date"}, func(l *Line) string { return l.To.Format(layout) }},
		{names{"lineItem/ProductCode", "line_item_product_code"}, func(l *Line) string { return l.Product }},
		{names{"lineItem/UsageType", "line_item_usage_type"}, func(l *Line) string { return l.UsageType }},
		{names{"lineItem/Operation", "line_item_operation"}, func(l *Line) string { return l.Operation }},
		{names{"lineItem/AvailabilityZone", "line_item_availability_zone"}, is("")},
		{names{"lineItem/ResourceId", "line_item_resource_id"}, func(l *Line) string { return l.Resource }},
		{names{"lineItem/UsageAmount", "line_item_usage_amount"}, func(l *Line) string { return decimal(l.Amount) }},
		{names{"lineItem/NormalizationFactor", "line_item_normalization_factor"}, is("")},
		{names{"lineItem/CurrencyCode", "line_item_currency_code"}, is(a.Currency)},
		{names{"lineItem/UnblendedRate", "line_item_unblended_rate"}, func(l *Line) string { return l.Rate.Decimal() }},
		{names{"lineItem/UnblendedCost", "line_item_unblended_cost"}, func(l *Line) string { return decimal(l.Cost) }},
		{names{"lineItem/BlendedRate", "line_item_blended_rate"}, func(l *Line) string { return l.Rate.Decimal() }},
		{names{"lineItem/BlendedCost", "line_item_blended_cost"}, func(l *Line) string { return decimal(l.Cost) }},
		{names{"lineItem/LineItemDescription", "line_item_line_item_description"}, func(l *Line) string { return l.Description }},
		{names{"lineItem/TaxType", "line_item_tax_type"}, is("")},
	}
}

func (a *Account) legacyTable() []column {
	var t []column
	for _, c := range a.curColumns(zulu) {
		t = append(t, column{c.legacy, c.value})
	}
	t = append(t, text("product/ProductName", "Amazon Elastic Compute Cloud"), text("product/location", "US West (Oregon)"),
		text("product/region", a.Region), text("pricing/term", "OnDemand"), text("pricing/unit", "GB-Mo"))
	for i := range 8 {
		t = append(t, text(fmt.Sprintf("resourceTags/user:tag%d", i), ""))
	}
	return t
}

func (a *Account) cur2Table() []column {
	var t []column
	for _, c := range a.curColumns(milli) {
		t = append(t, column{c.cur2, c.value})
	}
	return append(t, text("product", `{"product_name":"Amazon Elastic Compute Cloud","region":"US West (Oregon)"}`),
		text("product_region_code", a.Region), text("pricing_unit", "GB-Mo"), text("resource_tags", `{"user_name":"ünïcode, quoted"}`))
}

// category is ChargeCategory of FOCUS.
func category(lineType string) string {
	switch lineType {
	case "Credit", "Tax":
		return lineType
	case "Refund":
		return "Adjustment"
	case "Fee":
		return "Purchase"
	}
	return "Usage"
}

func (a *Account) focusTable() []column {
	// Spark writes doubles; small ones get an exponent.
	double := func(n int64) string { return fmt.Sprintf("%G", float64(n)/one) }
	return []column{
		{"BilledCost", func(l *Line) string { return double(l.Cost) }},
		text("BillingAccountId", a.Payer),
		text("BillingCurrency", a.Currency),
		{"BillingPeriodStart", func(l *Line) string { return month(l.From).Format(milli) }},
		{"ChargeCategory", func(l *Line) string { return category(l.Type) }},
		text("ChargeClass", ""),
		{"ChargeDescription", func(l *Line) string { return l.Description }},
		{"ChargePeriodEnd", func(l *Line) string { return l.To.Format(milli) }},
		{"ChargePeriodStart", func(l *Line) string { return l.From.Format(milli) }},
		{"ConsumedQuantity", func(l *Line) string { return double(l.Amount) }},
		{"ContractedUnitPrice", func(l *Line) string { return l.Rate.Decimal() }},
		{"InvoiceId", a.invoice},
		{"EffectiveCost", func(l *Line) string { return double(l.Cost) }},
		{"ListUnitPrice", func(l *Line) string { return l.Rate.Decimal() }},
		text("RegionId", a.Region),
		{"ResourceId", func(l *Line) string { return l.Resource }},
		text("SubAccountId", a.ID),
		text("Tags", `{"name":"a ""tag"", with all"}`),
		{"x_Operation", func(l *Line) string { return l.Operation }},
		{"x_ServiceCode", func(l *Line) string { return l.Product }},
		{"x_UsageType", func(l *Line) string { return l.UsageType }},
	}
}
