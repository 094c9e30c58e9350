package catalog_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snap-to-s3/internal/catalog"
)

type volume struct {
	mu    sync.Mutex
	owner string
	wrote int
	err   error
}

func (v *volume) String() string { return "vol-0123" }

func (v *volume) ReadOwner(context.Context) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.owner, v.err
}

func (v *volume) WriteOwner(_ context.Context, s string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.owner, v.wrote = s, v.wrote+1
	return v.err
}

func (v *volume) get() (string, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.owner, v.wrote
}

func (v *volume) set(owner string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.owner, v.err = owner, err
}

func TestHold(t *testing.T) {
	for _, c := range []struct {
		name  string
		owner string // found at the second renewal; "=": unchanged
		err   error
		text  string // of the cause; "": still held
	}{
		{"kept", "=", nil, ""},
		{"taken", ownerAt(beta, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), "x"), nil, beta.Run},
		{"tag gone", "", nil, `its owner tag is ""`},
		{"unreachable", "=", errFault, "not renewed for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := catalog.Owner{Identity: alpha, Renewed: time.Now().UTC()}
				v := &volume{owner: o.String()}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				stop := protocol(nil, alpha).Hold(ctx, cancel, v, o)
				defer stop()
				time.Sleep(6 * time.Minute)
				owner, wrote := v.get()
				if got, err := catalog.ParseOwner(owner); err != nil || !got.Renewed.Equal(o.Renewed.Add(5*time.Minute)) {
					t.Fatalf("owner after 6 minutes: %q, %v", owner, err)
				}
				if c.owner != "=" {
					owner = c.owner
				}
				v.set(owner, c.err)
				time.Sleep(40 * time.Minute)
				cause := context.Cause(ctx)
				last, renewed := v.get()
				if c.text == "" {
					if cause != nil || renewed != wrote+8 {
						t.Errorf("cause %v, %d renewals in 40 minutes", cause, renewed-wrote)
					}
					return
				}
				if !errors.Is(cause, catalog.ErrLost) || !strings.Contains(cause.Error(), c.text) || !strings.Contains(cause.Error(), "vol-0123") {
					t.Errorf("cause %v, want ErrLost with %q", cause, c.text)
				}
				if c.err == nil && renewed != wrote {
					t.Errorf("it wrote %q over %q", last, owner)
				}
			})
		})
	}
}
