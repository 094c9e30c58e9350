package s3

import (
	"errors"
	"log/slog"
	"sync"

	"snap-to-s3/internal/aws"
)

// Conditions says whether a store honours If-None-Match and If-Match of writes.
type Conditions int

// Amazon S3 honours them. Of another store it is unknown until its first small
// object: that is put twice, and a store that takes the second does not.
const (
	ConditionsUnknown Conditions = iota
	ConditionsHonoured
	ConditionsIgnored
)

func (c Conditions) String() string {
	return [...]string{"unknown", "honoured", "ignored"}[c]
}

// words are the parts of S3's language that a request uses and another store
// may not know.
type words struct {
	checksums  bool // CRC64NVME, and the size of the whole
	conditions bool // If-None-Match, If-Match
}

// dialect is what has been learned of a store's language.
type dialect struct {
	mu         sync.Mutex
	custom     bool
	words      words
	conditions Conditions
}

func (d *dialect) start(custom bool, c Conditions) {
	d.custom, d.conditions = custom, c
	if !custom {
		d.conditions = ConditionsHonoured
	}
	d.words = words{checksums: true, conditions: true}
}

func (d *dialect) now() (words, Conditions) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.words, d.conditions
}

// setConditions notes what a store does with conditions; only the first finding counts.
func (d *dialect) setConditions(c Conditions, log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conditions != ConditionsUnknown {
		return
	}
	d.conditions = c
	if c == ConditionsIgnored {
		log.Warn("this store ignores conditional writes: what is there is looked up before each write instead, which another writer can slip through")
	}
}

// learn keeps the words that a store took after it had rejected others.
func (d *dialect) learn(took words, log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.words.checksums && !took.checksums {
		log.Warn("this store does not know CRC64NVME checksums: objects are sent without them")
	}
	if d.words.conditions && !took.conditions {
		d.conditions = ConditionsIgnored
		log.Warn("this store rejects conditional writes: what is there is looked up before each write instead, which another writer can slip through")
	}
	d.words = took
}

// speak makes a call in the words that the store knows. Where it rejects them,
// fewer are tried; uses says which the call has at all. Amazon S3 knows all.
func (s *Store) speak(uses words, call func(words) error) error {
	known, _ := s.dialect.now()
	err := call(known)
	if !s.custom || !rejected(err) {
		return err
	}
	for _, fewer := range []words{
		{checksums: false, conditions: known.conditions},
		{checksums: known.checksums, conditions: false},
		{},
	} {
		if fewer == known || !less(known, fewer, uses) {
			continue
		}
		if next := call(fewer); next == nil || !rejected(next) {
			if next == nil {
				s.dialect.learn(fewer, s.log)
			}
			return next
		}
	}
	return err
}

// less tells whether a call that has the words of uses changes when only fewer
// are known.
func less(known, fewer, uses words) bool {
	return uses.checksums && known.checksums && !fewer.checksums ||
		uses.conditions && known.conditions && !fewer.conditions
}

// rejected tells whether the answer means that a header is not understood.
func rejected(err error) bool {
	if _, ours := errors.AsType[*standInError](err); ours || err == nil {
		return false
	}
	switch aws.Code(err) {
	case "NotImplemented", "InvalidArgument", "InvalidRequest", "InvalidHeader", "BadRequest", "XNotImplemented":
		return true
	}
	return aws.Status(err) == 501
}

// ConditionalWrites tells what is known of the store: whether it keeps two
// writers of one key apart.
func (s *Store) ConditionalWrites() Conditions {
	_, c := s.dialect.now()
	return c
}
