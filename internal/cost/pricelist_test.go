package cost

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sku is a product of a made-up price list.
type sku struct{ usage, operation, region, place, unit, begin, currency, price string }

// skus has what an EC2 and an S3 list have, and what must not be taken.
func skus() []sku {
	usd := func(usage, operation, unit, price string) sku {
		return sku{usage, operation, "eu-west-1", "AWS Region", unit, "0", "USD", price}
	}
	return []sku{
		usd("EU-EBS:SnapshotUsage", "CreateSnapshot", "GB-Mo", "0.0500000000"),
		usd("EU-EBS:SnapshotUsageUnderBilling", "", "GB-Mo", "9"),
		{"EU-EBS:SnapshotUsage", "", "eu-west-1", "AWS Outposts", "GB-Mo", "0", "USD", "8"},
		usd("EU-EBS:SnapshotArchiveStorage", "", "GB-Mo", "0.0125000000"),
		usd("EU-EBS:directAPI.snapshot.Get", "", "SnapshotAPIUnits", "0.0000030000"),
		usd("EU-EBS:VolumeUsage.gp3", "", "GB-Mo", "0.0880000000"),
		usd("EU-EBS:VolumeP-IOPS.piops", "", "Fortnights", "0.1"),
		usd("EU-TimedStorage-ByteHrs", "", "GB-Mo", "0.0230000000"),
		{"EU-TimedStorage-ByteHrs", "", "eu-west-1", "AWS Region", "GB-Mo", "51200", "USD", "0.0220000000"},
		usd("EU-TimedStorage-ByteHrs", "INTAAS3ObjectOverhead", "GB-Mo", "7"),
		usd("EU-Tables-TimedStorage-ByteHrs", "", "GB-Mo", "0.0265"),
		usd("EU-Requests-Tier1", "", "Requests", "0.0000050000"),
		usd("EU-Requests-Tier3", "RestoreObject", "Requests", "0.0000550000"),
		usd("EU-Requests-Tier3", "S3-GlacierTransition", "Requests", "0.0000300000"),
		usd("EU-Requests-GLACIER-Tier1", "PutObject", "Requests", "0.0000300000"),
		usd("EU-Requests-GLACIER-Tier1", "UploadPart", "Requests", "0.0000050000"),
		usd("EU-Requests-GDA-Tier1", "InitiateMultipartUpload", "Requests", "0.0000050000"),
		usd("EU-Requests-GDA-Tier1", "PostObject", "Requests", "0.0000500000"),
		usd("EU-Standard-Retrieval-Bytes", "RestoreObject", "GB", "0.0100000000"),
		usd("EU-Standard-Retrieval-Bytes", "DeepArchiveRestoreObject", "GB", "0.0200000000"),
		{"CNN1-TimedStorage-ByteHrs", "", "cn-north-1", "AWS Region", "GB-Mo", "0", "CNY", "0.1755"},
		{"CNW1-TimedStorage-ByteHrs", "", "cn-northwest-1", "AWS Region", "GB-Mo", "0", "USD", "0"},
		{"EU-EBS:directAPI.snapshot.List", "", "eu-west-1", "AWS Region", "SnapshotAPIUnits", "0", "CNY", "0.004"},
		{"TimedStorage-ByteHrs", "", "us-east-1", "AWS Region", "GB-Mo", "0", "USD", "0.0230000000"},
	}
}

func wantPrices() map[string]string {
	return map[string]string{
		"eu-west-1 ebs:snapshot": "0.05", "eu-west-1 ebs:snapshot-archive": "0.0125", "eu-west-1 ebs:direct-get": "0.003", "eu-west-1 ebs:gp3": "0.088",
		"eu-west-1 s3:STANDARD": "0.023", "eu-west-1 s3:STANDARD-put": "0.005", "eu-west-1 s3:GLACIER-restore": "0.055",
		"eu-west-1 s3:GLACIER-transition": "0.03", "eu-west-1 s3:GLACIER-put": "0.03", "eu-west-1 s3:DEEP_ARCHIVE-put": "0.05",
		"eu-west-1 s3:GLACIER-retrieval": "0.01", "eu-west-1 s3:DEEP_ARCHIVE-retrieval": "0.02", "us-east-1 s3:STANDARD": "0.023",
		"cn-north-1 s3:STANDARD": "0.1755",
	}
}

func listJSON(list []sku) string {
	products, terms := map[string]any{}, map[string]any{}
	for i, s := range list {
		id := fmt.Sprintf("SKU%03d", i)
		products[id] = map[string]any{"sku": id, "attributes": map[string]string{
			"usagetype": s.usage, "operation": s.operation, "regionCode": s.region, "locationType": s.place, "servicecode": "X",
		}}
		terms[id] = map[string]any{id + ".T": map[string]any{"priceDimensions": map[string]any{id + ".T.R": map[string]any{
			"unit": s.unit, "beginRange": s.begin, "endRange": "Inf", "pricePerUnit": map[string]string{s.currency: s.price},
		}}}}
	}
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(data)
	}
	return `{"formatVersion":"v1.0","offerCode":"AmazonS3","version":"1","publicationDate":"2026-09-01T17:06:43Z","products":` +
		part(products) + `,"terms":{"Reserved":{"a":[1,{"b":2}]},"OnDemand":` + part(terms) + `}}`
}

func listCSV(list []sku) string {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{
		{"FormatVersion", "v1.0"},
		{"Disclaimer", "for information"},
		{"Publication Date", "2026-09-01T17:06:43Z"},
		{"Version", "1"},
		{"OfferCode", "AmazonS3"},
		{"SKU", "TermType", "StartingRange", "Unit", "PricePerUnit", "Currency", "Location Type", "usageType", "operation", "Region Code"},
	}
	for i, s := range list {
		rows = append(rows, []string{fmt.Sprint(i), "OnDemand", s.begin, s.unit, s.price, s.currency, s.place, s.usage, s.operation, s.region})
	}
	rows = append(rows, []string{"r", "Reserved", "0", "GB-Mo", "6", "USD", "AWS Region", "EBS:SnapshotUsage", "", "eu-west-1"})
	if err := w.WriteAll(rows); err != nil {
		panic(err)
	}
	return b.String()
}

func TestReadPrices(t *testing.T) {
	backward := skus()
	slices.Reverse(backward)
	for form, text := range map[string]string{
		"backward": listCSV(backward), "JSON backward": listJSON(backward),
		"JSON": listJSON(skus()), "CSV": listCSV(skus()), "with a mark": "\xef\xbb\xbf" + listCSV(skus()),
	} {
		l, err := ReadPrices(t.Context(), "index", strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		got := map[string]string{}
		for i, p := range l.Table.prices {
			got[i.region+" "+i.name] = p.amount.Decimal()
			if p.source != "AWS Price List, AmazonS3" || p.dated != "2026-09-01" || p.unit != unitOf(i.name) {
				t.Errorf("%s: price %+v", form, p)
			}
		}
		if diff := cmp.Diff(wantPrices(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", form, diff)
		}
		notes := []string{
			"EBS direct API LIST requests in eu-west-1: its price is not in USD",
			"S3 STANDARD in cn-northwest-1: its price is not in CNY",
			`provisioned IOPS of io1 volumes in eu-west-1: its price is for a unit of "Fortnights"`,
		}
		if diff := cmp.Diff(notes, l.Notes); diff != "" {
			t.Errorf("%s: notes (-want +got):\n%s", form, diff)
		}
		with := Builtin().With(l.Table)
		if with.prices[item{"us-east-1", "s3:STANDARD"}].dated != "2026-09-01" || with.prices[item{"us-east-1", "s3:GLACIER"}].dated != Dated {
			t.Errorf("%s: merged with the table: %+v", form, with.prices[item{"us-east-1", "s3:STANDARD"}])
		}
	}
}

// Whatever is wrong is an error that names the file and what is wrong.
func TestBadPriceLists(t *testing.T) {
	good, rows := listJSON(skus()), listCSV(skus())
	for name, tt := range map[string]struct{ text, want string }{
		"empty":            {"", "it is empty"},
		"cut":              {good[:len(good)/3], "ends in the middle"},
		"cut in the terms": {good[:len(good)-200], "ends in the middle"},
		"not JSON":         {"{nonsense", "at byte 1"},
		"a list":           {"[]", "no row of column names"},
		"other JSON":       {`{"a": {"b": [1, 2]}, "products": {}}`, "no price of EBS or S3"},
		"odd products":     {`{"products": []}`, "where an object was expected"},
		"odd product":      {`{"products": {"a": []}}`, "at byte"},
		"deep":             {`{"x": ` + strings.Repeat("[", 2000), "nested too deeply"},
		"a huge value":     {`{"products": {"a": {"x": "` + strings.Repeat("x", 2*maxValue) + `"}}}`, "larger than 4 MiB"},
		"a price of words": {listJSON([]sku{{"EBS:SnapshotUsage", "", "r", "", "GB-Mo", "0", "USD", "free"}}), `"free" is not an amount`},
		"below nothing":    {listJSON([]sku{{"EBS:SnapshotUsage", "", "r", "", "GB-Mo", "0", "USD", "-1"}}), `"-1" is not an amount`},
		"too much":         {listJSON([]sku{{"Requests-Tier1", "", "r", "", "Requests", "0", "USD", "999999999"}}), "more than can be counted"},
		"a bill":           {strings.Repeat("a,b\n", 30), "among its first 20"},
		"no such column":   {"SKU,TermType\n", `no column "startingrange"`},
		"a huge row":       {rows + strings.Repeat("x", 2*maxValue), "larger than"},
		"a broken row":     {rows + "a\"b\n", "parse error on line 32"},
		"binary":           {"\x1f\x8b\x08\x00", "no row of column names"},
	} {
		_, err := ReadPrices(t.Context(), "some/index.json", strings.NewReader(tt.text))
		if err == nil || !strings.Contains(err.Error(), "some/index.json") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadPrices(ctx, "x", strings.NewReader(good)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

// Every item that the list can price is one of the built-in table or as good,
// and every part of the model can be priced by lists.
func TestListPricesTheModel(t *testing.T) {
	can := map[string]bool{}
	for _, name := range items() {
		can[name] = true
		if (item{"r", name}).words() == "" || unitOf(name) == "" {
			t.Errorf("%s has no words", name)
		}
	}
	for _, class := range Classes() {
		for _, source := range []ReadSource{ReadVolume, ReadDirect} {
			for _, name := range class.items(source) {
				optional := name == "s3:STANDARD-retrieval" || strings.HasSuffix(name, "-restore")
				if !can[name] && !optional {
					t.Errorf("no price list can say %s", name)
				}
			}
		}
	}
}

func FuzzReadPrices(f *testing.F) {
	f.Add([]byte(listJSON(skus())))
	f.Add([]byte(listCSV(skus())))
	f.Add([]byte(`{"terms":{"OnDemand":{"a":{"b":{"priceDimensions":{}}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ReadPrices(t.Context(), "x", bytes.NewReader(data))
		if err != nil {
			return
		}
		for i, p := range l.Table.prices {
			if p.amount < 0 || p.unit != unitOf(i.name) || i.region == "" {
				t.Errorf("%+v: %+v", i, p)
			}
		}
	})
}
