package print

import (
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/snapshot"
)

// Head begins each line of JSON; docs/json.md has the members of all.
type Head struct {
	V    int    `json:"v"`
	Type string `json:"type"`
}

// Owned is what a line is about.
type Owned struct {
	Partition string            `json:"partition,omitempty"`
	Account   string            `json:"account,omitempty"`
	Region    string            `json:"region,omitempty"`
	Volume    snapshot.VolumeID `json:"volume,omitempty"`
}

// Placed is where a line is about.
type Placed struct {
	Partition string `json:"partition,omitempty"`
	Region    string `json:"region,omitempty"`
}

// SnapshotRow is the JSON of a snapshot.
type SnapshotRow struct {
	Head
	Owned
	Snapshot    snapshot.ID `json:"snapshot"`
	Start       string      `json:"start,omitempty"`
	Description string      `json:"description,omitempty"`
	Holds       []string    `json:"holds,omitempty"`
	Work        string      `json:"work,omitempty"`
	Movable     *bool       `json:"movable,omitempty"` // nil: nobody told
	Gone        bool        `json:"gone,omitempty"`
	Average     bool        `json:"average,omitempty"`
	Encrypted   bool        `json:"encrypted,omitempty"`
	Amounts
	Full    *int64      `json:"full,omitempty"`           // nil: not known
	Change  *float64    `json:"change_percent,omitempty"` // nil of the first
	InBill  bool        `json:"in_bill"`
	Billed  *cost.Money `json:"billed,omitempty"` // nil without a bill, as the two others
	Blended *cost.Money `json:"blended,omitempty"`
	Net     *cost.Money `json:"net,omitempty"`
}

// Amounts are how much is billed, and for how much.
type Amounts struct {
	GiB         float64     `json:"gib"`
	Standard    int64       `json:"standard"`
	Low         int64       `json:"standard_low"`
	High        int64       `json:"standard_high"`
	Archive     int64       `json:"archive,omitempty"`
	Monthly     *cost.Money `json:"monthly,omitempty"`     // nil: no price is known of something in it, as the two others
	MonthlyLow  *cost.Money `json:"monthly_low,omitempty"` // at least: there also where some of it has no price
	MonthlyHigh *cost.Money `json:"monthly_high,omitempty"`
}

// Sums are those of several snapshots.
type Sums struct {
	Snapshots int `json:"snapshots"`
	Gone      int `json:"gone,omitempty"`
	Unpriced  int `json:"unpriced,omitempty"`
	Amounts
	Billed  cost.Money `json:"billed"`
	Blended cost.Money `json:"blended"`
	Net     cost.Money `json:"net"`
}

// VolumeRow is the JSON of a volume.
type VolumeRow struct {
	Head
	Owned
	Name  string `json:"name,omitempty"`
	State string `json:"state,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Sums
	Change *float64 `json:"change_percent,omitempty"`
	Why    string   `json:"why,omitempty"`
}

// RegionRow is the JSON of a region.
type RegionRow struct {
	Head
	Placed
	Sums
}

// LimitRow is the JSON of a limit of a region.
type LimitRow struct {
	Head
	Placed
	Class  cost.Class `json:"class"`
	Change float64    `json:"change_percent"`
}

// OptionRow is the JSON of an option: of the volume it names, or of the total.
type OptionRow struct {
	Head
	Owned
	Class       cost.Class  `json:"class"`
	Form        string      `json:"form"`
	Scope       string      `json:"scope"`
	Best        bool        `json:"best,omitempty"`
	Snapshots   int         `json:"snapshots"`
	Volumes     int         `json:"volumes"`
	Stored      int64       `json:"stored"`
	StoredLow   int64       `json:"stored_low"`
	StoredHigh  int64       `json:"stored_high"`
	Unpriced    int         `json:"unpriced,omitempty"`
	Now         *cost.Money `json:"now,omitempty"` // nil: Unpriced, as After and First
	After       *cost.Money `json:"after,omitempty"`
	Saving      cost.Money  `json:"saving"`
	SavingLow   cost.Money  `json:"saving_low"`
	SavingHigh  cost.Money  `json:"saving_high"`
	OneTime     cost.Money  `json:"one_time"`
	Requests    cost.Money  `json:"requests"`
	TempVolumes cost.Money  `json:"temporary_volumes"`
	Reads       cost.Money  `json:"direct_reads"`
	Instance    cost.Money  `json:"instance"`
	Hours       float64     `json:"hours"`
	First       *cost.Money `json:"first_month,omitempty"`
	MinimumDays int         `json:"minimum_days"`
	Minimum     cost.Money  `json:"minimum"`
	Retrieval   *cost.Money `json:"retrieval,omitempty"` // nil: no price of it is known
	BreakEven   int         `json:"break_even"`
	Latest      int         `json:"break_even_latest"`
}

// SourceRow is the JSON of a price, and where it is from.
type SourceRow struct {
	Head
	Region string     `json:"region,omitempty"`
	Item   string     `json:"item"`
	Price  cost.Money `json:"price"`
	Unit   string     `json:"unit"`
	Source string     `json:"source"`
	Dated  string     `json:"dated,omitempty"`
}

// NoteRow is the JSON of a note.
type NoteRow struct {
	Head
	Text string `json:"text"`
}

// TotalRow is the last line of JSON: the sum of all, and what it was made with.
type TotalRow struct {
	Head
	Sums
	DeletionRow
	Answer      string     `json:"answer"`
	Beside      []string   `json:"beside,omitempty"`
	OwnClasses  cost.Money `json:"own_classes_saving"`
	HourlyRate  cost.Money `json:"instance_hour,omitzero"`
	Currency    string     `json:"currency"`
	From        string     `json:"from,omitempty"`
	To          string     `json:"to,omitempty"`
	Newest      string     `json:"newest,omitempty"`
	Ratio       float64    `json:"ratio"`
	Measured    bool       `json:"ratio_measured,omitempty"`
	Source      string     `json:"read"`
	Payback     int        `json:"payback,omitempty"`
	Overlap     int        `json:"overlap_days,omitempty"`
	Unknown     []string   `json:"unknown_prices,omitempty"`
	PricesDated string     `json:"prices_dated"`
}
