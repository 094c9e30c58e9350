package analyze

import (
	"fmt"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
)

// workOf says by its tags how far the move of a snapshot is, or why it is in
// somebody's hands.
func workOf(tags map[string]string, tag string) (cost.Work, string) {
	switch st := catalog.StateOf(tags, tag); {
	case st.InProgress() && st.Owned:
		return cost.WorkNone, st.Value + ", on " + st.Owner.Host
	case st.InProgress():
		return cost.WorkNone, st.Value
	case st.Value == catalog.Migrate:
		return cost.WorkPlanned, ""
	case st.Value == catalog.Migrated:
		return cost.WorkMigrated, ""
	case st.Value == catalog.Validated:
		return cost.WorkValidated, ""
	}
	return cost.WorkNone, workedOn(tags, tag)
}

// workedOn says why a snapshot is in somebody's hands by its tags, or was; empty:
// it is not.
func workedOn(tags map[string]string, tag string) string {
	if value, ok := tags[tag]; ok {
		return fmt.Sprintf("it is tagged already: %s=%s", tag, value)
	}
	if st := catalog.StateOf(tags, tag); st.Owned {
		return "somebody works on it: it has an owner"
	}
	return ""
}
