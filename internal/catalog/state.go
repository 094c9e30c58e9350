package catalog

import (
	"fmt"
	"strings"
	"time"
)

// State is what the tags of a snapshot say of the work on it.
type State struct {
	Value    string // the tag; of a claim in one value its first word
	Present  bool   // the tag is there
	ID       string // the claim's random number, or ""
	Owner    Owner
	Owned    bool // Owner is set
	Combined bool // value, id and owner stood in one value

	raw       string // the tag's value as it stands
	ownerText string // the owner as it stands
}

// StateOf reads the state out of a snapshot's tags. It knows both forms: tag,
// tag-id and tag-owner apart; and, on snapshots without room for more tags, the
// three in one value: "migrating <id> <owner>".
func StateOf(tags map[string]string, tag string) State {
	raw, present := tags[tag]
	if st, ok := parseCombined(raw); ok {
		return st
	}
	st := State{Value: raw, Present: present, ID: tags[idTag(tag)], raw: raw}
	if owner, err := ParseOwner(tags[ownerTag(tag)]); err == nil {
		st.Owner, st.Owned, st.ownerText = owner, true, tags[ownerTag(tag)]
	}
	return st
}

// parseCombined accepts exactly what combined writes, so that a user's own value
// which happens to start alike stays a plain value.
func parseCombined(raw string) (State, bool) {
	part := strings.SplitN(raw, " ", 3)
	if len(part) != 3 || !inProgress(part[0]) || part[1] == "" || strings.Trim(part[1], "0123456789") != "" {
		return State{}, false
	}
	owner, err := ParseOwner(part[2])
	if err != nil {
		return State{}, false
	}
	return State{
		Value: part[0], Present: true, ID: part[1], Owner: owner, Owned: true, Combined: true,
		raw: raw, ownerText: part[2],
	}, true
}

func combined(value, id, owner string) string { return value + " " + id + " " + owner }

func idTag(tag string) string    { return tag + "-id" }
func ownerTag(tag string) string { return tag + "-owner" }

func inProgress(value string) bool { return value == Migrating || value == Validating }

// InProgress tells whether the tag says that somebody works on the snapshot.
func (s State) InProgress() bool { return inProgress(s.Value) }

// Live tells whether the state has an owner that was renewed so recently that
// its run must be taken for alive.
func (s State) Live(now time.Time) bool { return s.Owned && now.Sub(s.Owner.Renewed) < Live }

// who describes the state for an error: what the tag says and whose it is.
func (s State) who(tag string, now time.Time) string {
	value := fmt.Sprintf("its tag %s is %q", tag, s.Value)
	if !s.Present {
		value = "it has no tag " + tag
	}
	switch {
	case s.Owned:
		return fmt.Sprintf("%s, owner %s, run %s, %s", value, s.Owner.Host, s.Owner.Run, age(s.Owner.Renewed, now))
	case s.ID != "":
		return fmt.Sprintf("%s, %s is %s, without an owner", value, idTag(tag), s.ID)
	}
	return value
}

func age(renewed, now time.Time) string {
	if renewed.After(now) {
		return "renewed " + renewed.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("renewed %s ago", now.Sub(renewed).Round(time.Second))
}

// room tells how many more tags a snapshot takes. Tags of AWS itself do not
// count (EC2 user guide, "Tag restrictions").
func room(tags map[string]string) int {
	n := MaxTags
	for key := range tags {
		if !strings.HasPrefix(key, "aws:") {
			n--
		}
	}
	return n
}
