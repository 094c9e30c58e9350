package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// limits is a range of whole numbers, both ends included.
type limits struct{ min, max int }

// countVar defines a flag that takes a whole number within the limits and
// defaults to the lower one.
func countVar(s *pflag.FlagSet, p *int, name string, l limits, usage string) {
	*p = l.min
	s.Var(&count{p, l}, name, usage)
}

// levelVar defines a flag whose range depends on another flag.
func levelVar(s *pflag.FlagSet, p *int, name string, value int, usage string) {
	*p = value
	s.Var(&count{p, limits{math.MinInt32, math.MaxInt32}}, name, usage)
}

// count is a pflag.Value. pflag's own integer takes octal and underscores, and
// its errors show the inside of a Go library.
type count struct {
	value *int
	limits
}

// String is part of pflag.Value.
func (c *count) String() string {
	if c.value == nil { // pflag asks a zero value for its default
		return ""
	}
	return strconv.Itoa(*c.value)
}

// Type is part of pflag.Value.
func (c *count) Type() string { return "N" }

// Set is part of pflag.Value.
func (c *count) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("not a whole number")
	}
	if n < c.min || n > c.max {
		return fmt.Errorf("must be %d to %d", c.min, c.max)
	}
	*c.value = n
	return nil
}

// numbersVar defines a flag that may be repeated, and may have several numbers
// with commas between them.
func numbersVar(s *pflag.FlagSet, p *[]int, name, usage string) {
	s.Var(&counts{p}, name, usage)
}

type counts struct{ values *[]int }

// String is part of pflag.Value.
func (c *counts) String() string { return "" }

// Type is part of pflag.Value.
func (c *counts) Type() string { return "N" }

// Set is part of pflag.Value.
func (c *counts) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("not a whole number")
		}
		*c.values = append(*c.values, n)
	}
	return nil
}
