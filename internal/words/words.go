// Package words puts numbers and lists into sentences.
package words

import (
	"fmt"
	"strings"
)

// Count is a number with its thing: "1 month", "3 months".
func Count[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Or lists names, of which one is meant: "a, b or c".
func Or(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
