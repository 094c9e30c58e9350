package cost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxValue bounds the bytes of one product, term or row, and so the memory they
// take.
const maxValue = 4 << 20

// maxDepth bounds what is remembered of where a value is.
const maxDepth = 1000

// allowance is a reader that gives so many bytes until it is given more.
type allowance struct {
	r    io.Reader
	left int
}

var errTooLarge = errors.New("one value or row of it is larger than 4 MiB")

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLarge
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// tokens walks through JSON without holding more than one value of it.
type tokens struct {
	dec *json.Decoder
	in  *allowance
}

func (t *tokens) value(v any) error {
	t.in.left = maxValue
	if err := t.dec.Decode(v); err != nil {
		return t.at(err)
	}
	return nil
}

func (t *tokens) at(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends in the middle")
	}
	return fmt.Errorf("at byte %d: %w", t.dec.InputOffset(), err)
}

// members calls do for each member of the object that comes next; do must take
// its value.
func (t *tokens) members(do func(key string) error) error {
	t.in.left = maxValue
	open, err := t.dec.Token()
	if err != nil {
		return t.at(err)
	}
	if open != json.Delim('{') {
		return t.at(fmt.Errorf("%v where an object was expected", open))
	}
	for t.dec.More() {
		t.in.left = maxValue
		key, err := t.dec.Token()
		if err != nil {
			return t.at(err)
		}
		name, ok := key.(string)
		if !ok {
			return t.at(fmt.Errorf("%v where a name was expected", key))
		}
		if err := do(name); err != nil {
			return err
		}
	}
	if _, err := t.dec.Token(); err != nil {
		return t.at(err)
	}
	return nil
}

// skip passes over the next value, however large.
func (t *tokens) skip() error {
	for depth := 0; ; {
		t.in.left = maxValue
		token, err := t.dec.Token()
		if err != nil {
			return t.at(err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return t.at(errors.New("it is nested too deeply"))
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// sought is a product of which the price is sought.
type sought struct {
	item      item
	operation string
}

var errDone = errors.New("everything was read that is needed")

// readJSON reads products, then their on-demand terms; what follows those does
// not matter.
func (l *listing) readJSON(r io.Reader) error {
	in := &allowance{r: r}
	t := &tokens{json.NewDecoder(in), in}
	wanted := map[string]sought{}
	known := items()
	err := t.members(func(key string) error {
		switch key {
		case "offerCode":
			return t.value(&l.offer)
		case "publicationDate":
			if err := t.value(&l.dated); err != nil {
				return err
			}
			l.dated, _, _ = strings.Cut(l.dated, "T")
			return nil
		case "products":
			return t.members(func(sku string) error {
				var p struct {
					Attributes struct {
						Usage     string `json:"usagetype"`
						Operation string `json:"operation"`
						Region    string `json:"regionCode"`
						Place     string `json:"locationType"`
					} `json:"attributes"`
				}
				err := t.value(&p)
				if i, ok := (product{p.Attributes.Usage, p.Attributes.Operation, p.Attributes.Region, p.Attributes.Place}).itemOf(known); ok {
					wanted[sku] = sought{i, p.Attributes.Operation}
				}
				return err
			})
		case "terms":
			return t.members(func(kind string) error {
				if kind != "OnDemand" {
					return t.skip()
				}
				if err := l.readTerms(t, wanted); err != nil {
					return err
				}
				return errDone
			})
		}
		return t.skip()
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

func (l *listing) readTerms(t *tokens, wanted map[string]sought) error {
	return t.members(func(sku string) error {
		i, ok := wanted[sku]
		if !ok {
			return t.skip()
		}
		var terms map[string]struct {
			Dimensions map[string]struct {
				Unit  string            `json:"unit"`
				Begin string            `json:"beginRange"`
				Price map[string]string `json:"pricePerUnit"`
			} `json:"priceDimensions"`
		}
		if err := t.value(&terms); err != nil {
			return err
		}
		for _, term := range terms {
			for _, d := range term.Dimensions {
				if err := l.take(i.item, offered{i.operation, d.Begin, d.Unit, d.Price[RegionCurrency(i.item.region).String()]}); err != nil {
					return fmt.Errorf("SKU %s: %w", sku, err)
				}
			}
		}
		return nil
	})
}
