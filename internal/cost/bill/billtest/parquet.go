package billtest

import (
	"io"
	"iter"
	"time"

	"github.com/parquet-go/parquet-go"

	"snap-to-s3/internal/cost"
)

// curRow is a row of a CUR in Parquet.
type curRow struct {
	ID          string            `parquet:"identity_line_item_id,optional,plain,snappy"`
	Interval    string            `parquet:"identity_time_interval,optional,dict,snappy"`
	Invoice     string            `parquet:"bill_invoice_id,optional,dict,snappy"`
	Payer       string            `parquet:"bill_payer_account_id,optional,dict,snappy"`
	PeriodStart time.Time         `parquet:"bill_billing_period_start_date,optional,plain,snappy,timestamp(millisecond)"`
	Account     string            `parquet:"line_item_usage_account_id,optional,dict,snappy"`
	Type        string            `parquet:"line_item_line_item_type,optional,dict,snappy"`
	Start       time.Time         `parquet:"line_item_usage_start_date,optional,plain,snappy,timestamp(millisecond)"`
	End         time.Time         `parquet:"line_item_usage_end_date,optional,plain,snappy,timestamp(millisecond)"`
	UsageType   string            `parquet:"line_item_usage_type,optional,dict,snappy"`
	Operation   string            `parquet:"line_item_operation,optional,dict,snappy"`
	Resource    *string           `parquet:"line_item_resource_id,optional,dict,snappy"`
	Amount      *float64          `parquet:"line_item_usage_amount,optional,plain,snappy"`
	Currency    string            `parquet:"line_item_currency_code,optional,dict,snappy"`
	Rate        string            `parquet:"line_item_unblended_rate,optional,dict,snappy"`
	Cost        float64           `parquet:"line_item_unblended_cost,plain,snappy"`
	Description string            `parquet:"line_item_line_item_description,optional,dict,snappy"`
	Tags        map[string]string `parquet:"resource_tags"`
	Region      string            `parquet:"product_region_code,optional,dict,snappy"`
}

// focusRow is a row of a FOCUS export in Parquet.
type focusRow struct {
	Cost     float64   `parquet:"BilledCost,plain,snappy"`
	Invoice  *string   `parquet:"InvoiceId,optional,dict,snappy"`
	Payer    string    `parquet:"BillingAccountId,dict,snappy"`
	Currency string    `parquet:"BillingCurrency,dict,snappy"`
	Category string    `parquet:"ChargeCategory,dict,snappy"`
	End      time.Time `parquet:"ChargePeriodEnd,dict,snappy,timestamp(microsecond)"`
	Start    time.Time `parquet:"ChargePeriodStart,dict,snappy,timestamp(microsecond)"`
	Amount   *float64  `parquet:"ConsumedQuantity,optional,dict,snappy"`
	Price    *float64  `parquet:"ContractedUnitPrice,optional,dict,snappy"`
	List     *float64  `parquet:"ListUnitPrice,optional,dict,snappy"`
	Resource *string   `parquet:"ResourceId,optional,dict,snappy"`
	Account  string    `parquet:"SubAccountId,optional,dict,snappy"`
	Usage    string    `parquet:"x_UsageType,optional,dict,snappy"`
}

func some[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func units(n int64) float64 { return float64(n) / one }

func (a *Account) cur(l Line) curRow {
	return curRow{
		ID: l.ID, Interval: l.From.Format(zulu) + "/" + l.To.Format(zulu), Invoice: a.invoice(&l), Payer: a.Payer, PeriodStart: month(l.From), Account: a.ID,
		Type: l.Type, Start: l.From, End: l.To, UsageType: l.UsageType, Operation: l.Operation, Resource: some(l.Resource),
		Amount: new(units(l.Amount)), Currency: a.Currency, Rate: l.Rate.Decimal(), Cost: units(l.Cost), Description: l.Description,
		Tags: map[string]string{"user_name": l.Product}, Region: a.Region,
	}
}

func (a *Account) focus(l Line) focusRow {
	price := float64(l.Rate) / float64(cost.Dollar)
	var amount *float64
	if category(l.Type) == "Usage" {
		amount = new(units(l.Amount))
	}
	return focusRow{
		Cost: units(l.Cost), Invoice: some(a.invoice(&l)), Payer: a.Payer, Currency: a.Currency, Category: category(l.Type), End: l.To, Start: l.From,
		Amount: amount, List: some(price), Resource: some(l.Resource), Account: a.ID, Usage: l.UsageType,
	}
}

// writeParquet writes row groups small enough that a test has several.
func writeParquet[R any](w io.Writer, lines iter.Seq[Line], row func(Line) R) error {
	p := parquet.NewGenericWriter[R](w, parquet.MaxRowsPerRowGroup(1<<20), parquet.PageBufferSize(1<<20), parquet.DataPageVersion(1))
	rows := make([]R, 0, 1024)
	for l := range lines {
		if rows = append(rows, row(l)); len(rows) < cap(rows) {
			continue
		}
		if _, err := p.Write(rows); err != nil {
			return err
		}
		rows = rows[:0]
	}
	if _, err := p.Write(rows); err != nil {
		return err
	}
	return p.Close()
}
