package workflow

import "iter"

// afterwards yields rows once others have ended, none of which is expected to come:
// whoever finds them gives them to a table, and only says when that is done.
func afterwards[T any](end, rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for row, err := range end {
			if !yield(row, err) || err != nil {
				return
			}
		}
		rows(yield)
	}
}
