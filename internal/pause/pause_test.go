package pause

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := For(t.Context(), time.Minute); err != nil {
			t.Errorf("a pause that nobody ended: %v", err)
		}
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("a pause of a minute took %v", took)
		}
	})
}

func TestForEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("nobody wants it")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		begun := time.Now()
		if err := For(ctx, time.Hour); !errors.Is(err, why) {
			t.Errorf("the pause ended with %v, want %v", err, why)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("it ended after %v, want a second", took)
		}
	})
}
