package bill

import (
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
)

// field is what of a line we look at.
type field int

const (
	fieldUsageType field = iota
	fieldLineType
	fieldStart
	fieldEnd
	fieldInterval
	fieldResource
	fieldAmount
	fieldCost
	fieldRate
	fieldCurrency
	fieldAccount
	fieldPayer
	fieldPeriod // when its billing period begins
	fieldClass
	fieldInvoice
	fieldBlended
	fields // how many there are
)

// row is the text of a line's fields; nil where the report has no such column.
type row [fields][]byte

// family is a set of column names that belong together.
type family int

const (
	legacy family = iota // lineItem/UsageAmount
	cur2                 // line_item_usage_amount: CUR 2.0, and legacy reports in Parquet or out of Athena
	focus                // ConsumedQuantity
	families
)

func (f family) String() string {
	return [families]string{"legacy CUR", "CUR 2.0", "FOCUS"}[f]
}

// columnNames are the columns as AWS names them
// (https://docs.aws.amazon.com/cur/latest/userguide/data-dictionary.html,
// https://docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2.html,
// https://docs.aws.amazon.com/cur/latest/userguide/table-dictionary-focus-1-2-aws-columns.html).
//
// Of the costs of a line, the one that says what it adds to the invoice is read:
// unblended cost, and BilledCost of FOCUS. Blended cost, which is at the average
// rate of all accounts of a payer
// (https://docs.aws.amazon.com/cur/latest/userguide/Lineitem-columns.html), is
// summed beside it. Amortized cost, EffectiveCost of FOCUS, spreads what Savings
// Plans and reservations were paid in advance; no such plan covers storage of EBS
// (https://docs.aws.amazon.com/savingsplans/latest/userguide/what-is-savings-plans.html),
// and it is not read. Neither are net and list cost.
var columnNames = [families][fields]string{
	legacy: {
		fieldUsageType: "lineItem/UsageType", fieldLineType: "lineItem/LineItemType",
		fieldStart: "lineItem/UsageStartDate", fieldEnd: "lineItem/UsageEndDate", fieldInterval: "identity/TimeInterval",
		fieldResource: "lineItem/ResourceId", fieldAmount: "lineItem/UsageAmount", fieldCost: "lineItem/UnblendedCost",
		fieldRate: "lineItem/UnblendedRate", fieldCurrency: "lineItem/CurrencyCode",
		fieldAccount: "lineItem/UsageAccountId", fieldPayer: "bill/PayerAccountId", fieldPeriod: "bill/BillingPeriodStartDate",
		fieldInvoice: "bill/InvoiceId", fieldBlended: "lineItem/BlendedCost",
	},
	cur2: {
		fieldUsageType: "line_item_usage_type", fieldLineType: "line_item_line_item_type",
		fieldStart: "line_item_usage_start_date", fieldEnd: "line_item_usage_end_date", fieldInterval: "identity_time_interval",
		fieldResource: "line_item_resource_id", fieldAmount: "line_item_usage_amount", fieldCost: "line_item_unblended_cost",
		fieldRate: "line_item_unblended_rate", fieldCurrency: "line_item_currency_code",
		fieldAccount: "line_item_usage_account_id", fieldPayer: "bill_payer_account_id", fieldPeriod: "bill_billing_period_start_date",
		fieldInvoice: "bill_invoice_id", fieldBlended: "line_item_blended_cost",
	},
	focus: {
		fieldUsageType: "x_UsageType", fieldLineType: "ChargeCategory",
		fieldStart: "ChargePeriodStart", fieldEnd: "ChargePeriodEnd",
		fieldResource: "ResourceId", fieldAmount: "ConsumedQuantity", fieldCost: "BilledCost",
		fieldRate: "ContractedUnitPrice", fieldCurrency: "BillingCurrency",
		fieldAccount: "SubAccountId", fieldPayer: "BillingAccountId", fieldPeriod: "BillingPeriodStart",
		fieldClass: "ChargeClass", fieldInvoice: "InvoiceId",
	},
}

// schema says where a file has which field.
type schema struct {
	family family
	column [fields]int // -1 where it has none
	names  []string    // of all columns
}

const (
	resourceHint = "make a report with resource ids: in Billing and Cost Management, Data Exports, create a CUR 2.0 export with " +
		"\"Include resource IDs\" and daily granularity (FOCUS exports have them always)"
	columnsHint = "a Cost and Usage Report (legacy or 2.0) or a FOCUS export with AWS columns is needed; an export's query must select these columns"
)

// newSchema finds the fields among a file's columns, by name, in any order.
func newSchema(names []string) (*schema, error) {
	at := make(map[string]int, len(names))
	for i, name := range names {
		key := strings.ToLower(name)
		if _, twice := at[key]; !twice {
			at[key] = i
		}
	}
	s := &schema{names: names, family: guessFamily(at)}
	if s.family == families {
		err := fmt.Errorf("its columns are not those of a bill from AWS: %s", sample(names))
		return nil, hint.Wrap(err, columnsHint)
	}
	for f := range fields {
		s.column[f] = -1
		if name := columnNames[s.family][f]; name != "" {
			if i, ok := at[strings.ToLower(name)]; ok {
				s.column[f] = i
			}
		}
	}
	return s, s.check()
}

// guessFamily is the family that most columns belong to; families when none do.
func guessFamily(at map[string]int) family {
	best, most := families, 0
	for f := range families {
		n := 0
		for _, name := range columnNames[f] {
			if _, ok := at[strings.ToLower(name)]; name != "" && ok {
				n++
			}
		}
		if n > most {
			best, most = f, n
		}
	}
	return best
}

func (s *schema) check() error {
	var missing []string
	for _, f := range []field{fieldUsageType, fieldLineType, fieldResource, fieldAmount, fieldCost} {
		if s.column[f] < 0 {
			missing = append(missing, columnNames[s.family][f])
		}
	}
	if s.column[fieldInterval] < 0 && (s.column[fieldStart] < 0 || s.column[fieldEnd] < 0) {
		for _, f := range []field{fieldStart, fieldEnd} {
			if s.column[f] < 0 {
				missing = append(missing, columnNames[s.family][f])
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	next := columnsHint
	if slices.Contains(missing, columnNames[s.family][fieldResource]) {
		next = resourceHint
	}
	what := "column"
	if len(missing) > 1 {
		what = "columns"
	}
	return hint.Wrap(fmt.Errorf("this %s report has no %s %s", s.family, what, strings.Join(missing, ", ")), next)
}

// name is the column a field was read from.
func (s *schema) name(f field) string {
	if i := s.column[f]; i >= 0 {
		return s.names[i]
	}
	return columnNames[s.family][f]
}

// sample is the first few names, short enough to be read.
func sample(names []string) string {
	const few, long = 5, 30
	var shown []string
	for _, n := range names[:min(few, len(names))] {
		if len(n) > long {
			n = strings.ToValidUTF8(n[:long], "") + "…"
		}
		shown = append(shown, fmt.Sprintf("%q", n))
	}
	if len(names) > few {
		shown = append(shown, "…")
	}
	return strings.Join(shown, ", ")
}
