package ec2

import "fmt"

// Leave implements workflow.Volume.
func (t *volume) Leave(why error) error {
	if t.released.Swap(true) {
		return fmt.Errorf("leave volume %s: it was released before", t.id)
	}
	t.stop()
	t.closeDevice()
	t.volumes.release(t.letter)
	return t.stays(fmt.Errorf("volume %s stays attached: %w", t.id, why), t.removeCommand(), t.detachCommand())
}
