package awssim

import (
	"encoding/xml"
	"maps"
	"time"
)

// Lag is how long EC2 takes to do something: until it was looked at Reads times
// since, and For has passed. Negative Reads: it is done at once.
type Lag struct {
	Reads int
	For   time.Duration
}

// wait is a lag under way. It runs by the host's clock, since a test may move
// the server's.
type wait struct {
	lag   Lag
	since time.Time
	seen  int
}

func newWait(l Lag) wait { return wait{lag: l, since: time.Now()} }

func (w *wait) look() { w.seen++ }

func (w *wait) over() bool { return w.seen >= w.lag.Reads && time.Since(w.since) >= w.lag.For }

// tagHistory is a resource's tags as they are and as readers see them.
type tagHistory struct {
	first   map[string]string // what it started with
	now     map[string]string // never changed in place
	seen    map[string]string
	pending []tagVersion
}

type tagVersion struct {
	tags map[string]string
	wait wait
}

func newTagHistory(tags map[string]string) tagHistory {
	tags = maps.Clone(tags)
	if tags == nil {
		tags = map[string]string{}
	}
	return tagHistory{first: tags, now: tags, seen: tags}
}

// set replaces the tags. Readers see them after the lag.
func (h *tagHistory) set(tags map[string]string, l Lag) {
	h.now = tags
	h.pending = append(h.pending, tagVersion{tags, newWait(l)})
	h.settle()
}

// view is what a reader sees.
func (h *tagHistory) view() map[string]string {
	h.settle()
	return h.seen
}

// look counts a reader.
func (h *tagHistory) look() {
	for i := range h.pending {
		h.pending[i].wait.look()
	}
}

func (h *tagHistory) settle() {
	for i := len(h.pending) - 1; i >= 0; i-- {
		if h.pending[i].wait.over() {
			h.seen = h.pending[i].tags
			h.pending = h.pending[i+1:]
			return
		}
	}
}

// xmlTime is a time as EC2 writes it, in milliseconds.
type xmlTime struct{ time.Time }

// MarshalXML writes nothing for the zero time.
func (t xmlTime) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if t.IsZero() {
		return nil
	}
	return e.EncodeElement(t.UTC().Format("2006-01-02T15:04:05.000Z"), start)
}
