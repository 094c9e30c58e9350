package ec2

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
)

// slowDisk answers a read after the time that is set, or at the end of its
// context.
type slowDisk struct {
	block.Source
	takes atomic.Int64 // nanoseconds
	err   error
}

func (d *slowDisk) ReadAt(ctx context.Context, p []byte, _ int64) (int, error) {
	if takes := time.Duration(d.takes.Load()); takes > 0 {
		if err := pause.For(ctx, takes); err != nil {
			return 0, err
		}
	}
	return len(p), d.err
}

func slowVolume(d *slowDisk) *volume {
	return &volume{
		Source: d, id: "vol-0123456789abcdef0", reads: newWatchdog(DefaultTiming().ReadStall),
		volumes: &Volumes{cfg: VolumesConfig{Session: &aws.Session{Config: awssdk.Config{Region: "us-east-1"}}}},
	}
}

const never = int64(1000 * time.Hour)

func (t *volume) testRead(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	_, err := t.ReadAt(ctx, make([]byte, 1), 0)
	return time.Since(begun), err
}

func wantStall(t *testing.T, took time.Duration, err error) {
	t.Helper()
	const status = "aws ec2 describe-volume-status --region us-east-1 --volume-ids vol-0123456789abcdef0"
	if err == nil || err.Error() != "volume vol-0123456789abcdef0 gave no byte for 10 minutes" || !strings.Contains(hint.Of(err), status) {
		t.Errorf("error %v, hint %q", err, hint.Of(err))
	}
	if took != 10*time.Minute {
		t.Errorf("it took %s, want 10 minutes", took)
	}
}

func TestReadThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{}
		v := slowVolume(d)
		// A pause between reads, as where the store is slow, is no stall.
		if _, err := v.testRead(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		d.takes.Store(never)
		took, err := v.testRead(t.Context())
		wantStall(t, took, err)
	})
}

// While any read is answered, a late one is waited for.
func TestSlowReadIsNoStallWhileOthersAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{}
		d.takes.Store(int64(35 * time.Minute))
		v := slowVolume(d)
		var wg sync.WaitGroup
		wg.Go(func() {
			if took, err := v.testRead(t.Context()); err != nil || took != 35*time.Minute {
				t.Errorf("the late read: %s, %v", took, err)
			}
		})
		synctest.Wait()
		d.takes.Store(int64(9 * time.Minute))
		for range 4 {
			if _, err := v.testRead(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
}

// The limit runs from the last answer, which may be an error.
func TestStallAfterTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{err: errors.New("bad block")}
		d.takes.Store(never)
		v := slowVolume(d)
		var wg sync.WaitGroup
		wg.Go(func() {
			if took, err := v.testRead(t.Context()); err == nil || took != 14*time.Minute {
				t.Errorf("the read that hangs ended after %s, want 14 minutes: %v", took, err)
			}
		})
		synctest.Wait()
		d.takes.Store(int64(4 * time.Minute))
		if _, err := v.testRead(t.Context()); err == nil || err.Error() != "volume vol-0123456789abcdef0: bad block" {
			t.Errorf("error %v", err)
		}
		wg.Wait()
	})
}

func TestEndOfContextIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{}
		d.takes.Store(never)
		stop := errors.New("stopped by a test")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(stop) })
		if took, err := slowVolume(d).testRead(ctx); !errors.Is(err, stop) || took != time.Minute {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// The watch over a read must cost nothing beside the read.
func BenchmarkReadAt(b *testing.B) {
	v := slowVolume(&slowDisk{})
	p := make([]byte, 1)
	for b.Loop() {
		if _, err := v.ReadAt(b.Context(), p, 0); err != nil {
			b.Fatal(err)
		}
	}
}
