package ec2_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
)

// At each call the state file holds what finds the volume and its attachment,
// should the run be killed in it, and keeps it while they may be there.
func TestWhatIsNotedBeforeEachCall(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.owner.Renewed = time.Now().Add(-time.Hour)
	noted := map[string][]runstate.Entry{}
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		noted[c.Action] = w.state.Left() // one call after the other
		return awssim.Fault{}
	})
	v := w.mustOpen()
	id, token, device := string(v.ID()), w.alive()[0].Token, w.alive()[0].Device
	w.mustRelease(v)

	common := map[string]string{
		"region": "us-east-1", "snapshot": string(w.snapshot.ID), "tag": tag,
		"owner_tag": tag + "-owner", "owner": w.owner.String(), "owner_prefix": w.instance.ID + "/boot-1/run-a/",
	}
	entry := func(kind string, more map[string]string) runstate.Entry {
		for k, v := range common {
			more[k] = v
		}
		return runstate.Entry{Kind: kind, Fields: more}
	}
	making := entry(runstate.KindVolume, map[string]string{"token": token, "zone": "us-east-1a"})
	made := entry(runstate.KindVolume, map[string]string{"token": token, "zone": "us-east-1a", "volume": id})
	joined := entry(runstate.KindAttachment, map[string]string{"volume": id, "instance": w.instance.ID, "device": device})
	for action, want := range map[string][]runstate.Entry{
		"CreateVolume":              {making},
		"DescribeInstanceAttribute": {made},
		"AttachVolume":              {made, joined},
		"DetachVolume":              {made, joined},
		"DeleteVolume":              {made, joined},
	} {
		if diff := cmp.Diff(want, noted[action]); diff != "" {
			t.Errorf("noted at %s (-want +got):\n%s", action, diff)
		}
	}
	// The owner tag is renewed, its start is not.
	if o, err := catalog.ParseOwner(common["owner"]); err != nil || o.Host+"/"+o.Boot+"/"+o.Run+"/" != common["owner_prefix"] {
		t.Errorf("owner %v, %v", o, err)
	}
}

// A volume that is found after its creation gave no answer is noted by its id
// before anything is done to it.
func TestFoundVolumeIsNotedAtOnce(t *testing.T) {
	w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
	stop := errors.New("stopped by a test")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var atDelete []runstate.Entry
	var made []awssim.VolumeInfo
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		switch c.Action {
		case "CreateVolume":
			cancel(stop)
			return awssim.Fault{HangAfter: true}
		case "DeleteVolume":
			atDelete, made = w.state.Left(), w.alive()
		}
		return awssim.Fault{}
	})
	_, err := w.open(ctx)
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if len(made) != 1 || !slices.ContainsFunc(atDelete, func(e runstate.Entry) bool { return e.Fields["volume"] == made[0].ID }) {
		t.Errorf("volumes %+v; noted before the deletion: %+v", made, atDelete)
	}
	w.nothingLeft()
}
