package ec2

import (
	"fmt"

	"snap-to-s3/internal/workflow"
)

// removeCommand also unmounts what this run has mounted of the volume: while that
// stands, the volume would not be detached.
func (t *volume) removeCommand() string {
	remove := t.volumes.removeCommand(t.id, t.joined == nil || t.detached || t.elsewhere)
	if t.node == "" {
		return remove
	}
	return workflow.UnmountFirst(t.volumes.cfg.State.Left(), t.node, remove)
}

func (t *volume) detachCommand() string { return t.volumes.detachCommand(t.id) }

// removeCommand does without detaching where the volume is known to be detached.
// Where it is attached, or may be, somebody may detach it before the command runs:
// that is an error of its first call alone, hence the semicolon.
func (v *Volumes) removeCommand(id volumeID, detached bool) string {
	remove := fmt.Sprintf("aws ec2 delete-volume --region %s --volume-id %s", v.region(), id)
	if detached {
		return remove
	}
	return fmt.Sprintf("%s; aws ec2 wait volume-available --region %s --volume-ids %s && %s",
		v.detachCommand(id), v.region(), id, remove)
}

func (v *Volumes) detachCommand(id volumeID) string {
	return fmt.Sprintf("aws ec2 detach-volume --region %s --volume-id %s", v.region(), id)
}
