package ec2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// volume is one temporary volume, in whatever state it has got to. Open and
// Release work on it one after the other; only ReadAt, Size and Extents, which
// do not change it, may be called by several at once.
type volume struct {
	block.Source // the device; nil before it is open

	volumes *Volumes
	reads   *watchdog
	request workflow.VolumeRequest
	typ     volumeType
	log     *slog.Logger

	id           volumeID // "" before EC2 has told it
	kmsKey       string
	mayExist     bool      // CreateVolume was called, and has given no id
	refused      bool      // it was answered by EC2 with a refusal
	missing      time.Time // since when EC2 does not know id
	misses       int       // looks since then; 0: it knows
	deleteAsked  bool
	settled      bool   // it was made so long ago that EC2 knows it, if it is there
	elsewhere    bool   // someone has attached it to another instance
	detached     bool   // EC2 has shown it attached to nothing, after it was attached
	letter       byte   // of the device name, reserved; 0: none
	device       string // the name it is attached at
	node         string // path of its device
	attachAsked  time.Time
	detachAsked  time.Time
	made, joined *runstate.Intent // volume and attachment in the state file
	stop         func()           // ends the renewal of the owner tag
	released     atomic.Bool

	// Of a volume that an earlier run kept.
	reused    bool
	taken     bool // the call that makes it this run's was made
	untouched bool // and EC2 refused it

	// Of a volume that another run has left; else nil.
	guard func(types.Volume) error                                    // why it is not to be touched
	idle  func(context.Context, types.VolumeAttachment) (bool, error) // nobody has its device
}

var _ workflow.Volume = (*volume)(nil)

// ID implements workflow.Volume.
func (t *volume) ID() snapshot.VolumeID { return t.id }

// Device implements workflow.Volume.
func (t *volume) Device() string { return t.node }

// Reused implements workflow.Volume.
func (t *volume) Reused() bool { return t.reused }

// Keep implements workflow.Volume.
func (t *volume) Keep() { t.request.Keep = true }

func (v *Volumes) mountedTag() string { return v.cfg.Tag + "-mounted" }

// MarkMounted implements workflow.Volume. What was mounted before stays marked.
func (t *volume) MarkMounted(ctx context.Context, partitions string) error {
	callCtx, cancel := t.call(ctx)
	defer cancel()
	got, err := t.look(callCtx)
	if err == nil {
		err = t.otherOwner(got)
	}
	if err == nil {
		key := t.volumes.mountedTag()
		err = setTags(callCtx, t.volumes.client, string(t.id), map[string]string{key: together(tagMap(got.Tags)[key], partitions)})
	}
	return explain(ctx, err, fmt.Sprintf("tag volume %s as mounted", t.id))
}

// together joins two lists of partitions, "1,3".
func together(before, now string) string {
	all := strings.FieldsFunc(before, isComma)
	for _, n := range strings.FieldsFunc(now, isComma) {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return strings.Join(all, ",")
}

func isComma(r rune) bool { return r == ',' }

// look describes the volume and keeps account of how long EC2 has not known it.
func (t *volume) look(ctx context.Context) (types.Volume, error) {
	got, err := t.volumes.describe(ctx, t.id)
	switch {
	case errors.Is(err, errNoVolume):
		if t.misses++; t.misses == 1 {
			t.missing = time.Now()
		}
	case err == nil:
		t.misses = 0
		if key := awssdk.ToString(got.KmsKeyId); key != "" {
			t.kmsKey = key
		}
		t.log.Debug("looked at volume", "volume", t.id, "state", got.State)
	}
	return got, err
}

// believedMisses is how often a volume is not found before it is believed: time
// alone also passes while this process is held up.
const believedMisses = 5

// gone tells whether errNoVolume can be believed by now.
func (t *volume) gone() bool {
	settled := t.misses >= believedMisses && time.Since(t.missing) >= t.volumes.cfg.Timing.Settle
	return t.misses > 0 && (t.deleteAsked || t.settled) || settled
}

// attachment is the volume's attachment to this instance, and the id of another
// instance that has it.
func (t *volume) attachment(got types.Volume) (here *types.VolumeAttachment, elsewhere string) {
	for i, a := range got.Attachments {
		switch {
		case a.State == types.VolumeAttachmentStateDetached:
		case awssdk.ToString(a.InstanceId) == t.volumes.cfg.Instance.ID:
			here = &got.Attachments[i]
		default:
			elsewhere = awssdk.ToString(a.InstanceId)
		}
	}
	return here, elsewhere
}

// foreignError: the volume carries another run's owner tag. Nothing may be done
// to it then.
type foreignError struct{ text string }

func (e *foreignError) Error() string { return e.text }

// otherOwner is a foreignError where the volume is not this run's.
func (t *volume) otherOwner(got types.Volume) error {
	text := tagMap(got.Tags)[t.volumes.ownerTag()]
	if text == "" {
		return nil
	}
	o, err := catalog.ParseOwner(text)
	if err == nil && o.Identity == t.request.Owner.Identity {
		return nil
	}
	return &foreignError{fmt.Sprintf("it belongs to another run now (%s = %s) and is left to it",
		t.volumes.ownerTag(), text)}
}

func (t *volume) step(format string, args ...any) {
	t.request.Step(fmt.Sprintf(format, args...))
}

// call bounds one call, or a short series of them, outside of a wait.
func (t *volume) call(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := t.volumes.cfg.Timing.Call
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("EC2 has not done it within %s", limit))
}
