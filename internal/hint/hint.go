// Package hint attaches the next step to an error, so that what a person reads
// is "what went wrong" and, on a line of its own, "what to do now". The error's
// text itself never contains the hint.
package hint

import "errors"

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Wrap returns err with a next step. A nil err stays nil; an err that already
// has a hint keeps it, since whoever was nearest to the fault knew more.
func Wrap(err error, hint string) error {
	if err == nil || Of(err) != "" {
		return err
	}
	return &hinted{err, hint}
}

// Replace is Wrap for who knows more of the next step than err's own hint says.
func Replace(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

// Of returns the next step that err or one of the errors it wraps carries, or "".
func Of(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}
