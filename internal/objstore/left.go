package objstore

// LeftBehindError says that something stays in the store, and how to remove it.
// Writer.Abort returns it where the store refuses to take an upload back.
type LeftBehindError struct {
	Thing   string // what stays, by name and id
	Command string // the shell command that removes it
	Err     error  // why it stays
}

func (e *LeftBehindError) Error() string { return e.Thing + " stays: " + e.Err.Error() }

// Unwrap returns why it stays.
func (e *LeftBehindError) Unwrap() error { return e.Err }
