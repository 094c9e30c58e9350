package ebs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := pace{every: 25 * time.Millisecond}
		began := time.Now()
		var g errgroup.Group
		for range 4 {
			g.Go(func() error {
				for range 10 {
					if err := p.wait(t.Context()); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil || time.Since(began) != 39*25*time.Millisecond {
			t.Errorf("40 calls in %s, %v", time.Since(began), err)
		}
		time.Sleep(time.Hour) // what was not asked for is not made up for
		began = time.Now()
		for range 3 {
			if err := p.wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if time.Since(began) != 50*time.Millisecond {
			t.Errorf("3 calls after an hour in %s", time.Since(began))
		}
		stop := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stop)
		if err := p.wait(ctx); !errors.Is(err, stop) {
			t.Errorf("ended: %v", err)
		}
	})
}
