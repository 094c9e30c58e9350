package layout

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Part is which part of a disk something is of: the number of a partition, or
// one of the values here.
type Part int

// The parts of a disk that are not partitions.
const (
	Head  Part = -1 // the sectors before the first partition
	Whole Part = 0  // all of it
)

// String is the part as keys have it: the number, "0" for the head, and nothing
// for the whole disk.
func (p Part) String() string {
	switch p {
	case Whole:
		return ""
	case Head:
		return "0"
	}
	return strconv.Itoa(int(p))
}

// MarshalJSON writes the number, 0 for the head. The whole disk has none: a
// member of this type is left out then (omitzero).
func (p Part) MarshalJSON() ([]byte, error) {
	switch {
	case p == Whole:
		return []byte("null"), nil
	case p < Head:
		return nil, fmt.Errorf("%d is no part of a disk", int(p))
	}
	return []byte(p.String()), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Part) UnmarshalJSON(data []byte) error {
	var n *int
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("number of a partition: %w", err)
	}
	switch {
	case n == nil:
		*p = Whole
	case *n < 0:
		return fmt.Errorf("number of a partition: %d", *n)
	case *n == 0:
		*p = Head
	default:
		*p = Part(*n)
	}
	return nil
}
