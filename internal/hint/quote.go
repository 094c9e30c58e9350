package hint

import "strings"

// plain are the characters that no POSIX shell takes for more than themselves,
// wherever they stand in an argument.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,/:@%+="

// Quote makes one argument of a POSIX shell command out of word, so that a next
// step can be pasted as it stands. A word that needs no quotes stays as it is.
func Quote(word string) string {
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
