package archive

// RowMerger is opened to tests.
type RowMerger = rowMerger

func NewRowMerger(out ImageRows) *RowMerger { m := newRowMerger(out); return &m }

func MergeData(m *RowMerger, at int64, sum [32]byte) error { return m.data(at, sum) }

func FlushRows(m *RowMerger) error { return m.flush() }
