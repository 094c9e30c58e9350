package archive_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"snap-to-s3/internal/archive"
)

func TestPipeHandsRowsOver(t *testing.T) {
	for _, depth := range []int{0, 1, 3, 100} {
		for _, end := range []error{nil, errors.New("broken")} {
			synctest.Test(t, func(t *testing.T) {
				p := archive.NewPipe[*archive.TreeRow](depth)
				go func() {
					for i := range 50 {
						if err := p.Put(t.Context(), row(fmt.Sprint(i))); err != nil {
							t.Error(err)
						}
					}
					p.Close(end)
					p.Close(errors.New("a second time"))
				}()
				n := 0
				var last error
				for r, err := range p.All(t.Context()) {
					if last = err; err == nil {
						if r.Path != fmt.Sprint(n) {
							t.Fatalf("row %d is %s", n, r.Path)
						}
						n++
					}
				}
				if n != 50 || last != end {
					t.Errorf("depth %d: %d rows, then %v, want 50, then %v", depth, n, last, end)
				}
			})
		}
	}
}

// The bubble of synctest fails where a goroutine is left behind.
func TestPipeLetsBothSidesGo(t *testing.T) {
	cause := errors.New("enough")
	fill := func(t *testing.T, ctx context.Context, p *archive.Pipe[*archive.TreeRow], want error) func() {
		var done sync.WaitGroup
		done.Go(func() {
			for {
				if err := p.Put(ctx, row("a")); err != nil {
					if err != want {
						t.Errorf("Put: %v, want %v", err, want)
					}
					return
				}
			}
		})
		return done.Wait
	}
	tests := map[string]func(t *testing.T, ctx context.Context, cancel context.CancelCauseFunc, p *archive.Pipe[*archive.TreeRow]){
		"the reader stops": func(t *testing.T, ctx context.Context, _ context.CancelCauseFunc, p *archive.Pipe[*archive.TreeRow]) {
			wait := fill(t, ctx, p, archive.ErrUnread)
			for range p.All(ctx) {
				break
			}
			wait()
			for _, err := range p.All(ctx) {
				if err != archive.ErrUnread {
					t.Errorf("a second loop gets %v", err)
				}
			}
		},
		"the reader panics": func(t *testing.T, ctx context.Context, _ context.CancelCauseFunc, p *archive.Pipe[*archive.TreeRow]) {
			wait := fill(t, ctx, p, archive.ErrUnread)
			func() {
				defer func() { recover() }()
				for range p.All(ctx) {
					panic("reader")
				}
			}()
			wait()
		},
		"nobody reads": func(t *testing.T, ctx context.Context, cancel context.CancelCauseFunc, p *archive.Pipe[*archive.TreeRow]) {
			wait := fill(t, ctx, p, cause)
			synctest.Wait()
			cancel(cause)
			wait()
		},
		"nobody writes": func(t *testing.T, ctx context.Context, cancel context.CancelCauseFunc, p *archive.Pipe[*archive.TreeRow]) {
			go func() {
				synctest.Wait()
				cancel(cause)
			}()
			for _, err := range p.All(ctx) {
				if err != cause {
					t.Errorf("All: %v", err)
				}
			}
		},
		"closed from elsewhere": func(t *testing.T, ctx context.Context, _ context.CancelCauseFunc, p *archive.Pipe[*archive.TreeRow]) {
			wait := fill(t, ctx, p, archive.ErrUnread)
			synctest.Wait()
			p.Close(nil)
			wait()
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				test(t, ctx, cancel, archive.NewPipe[*archive.TreeRow](2))
			})
		})
	}
}

// Two trees that are found while they are compared, as a validation does it; and
// it ends, however it ends.
func TestDiffTreesOverPipes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		paths := rapid.SliceOfDistinct(rapid.StringMatching("[a-c]{1,3}"), rapid.ID).Draw(rt, "paths")
		slices.Sort(paths)
		stop := rapid.IntRange(0, len(paths)).Draw(rt, "stop after")
		broken := rapid.Bool().Draw(rt, "archive breaks")
		synctest.Test(t, func(t *testing.T) {
			end, enough := errors.New("broken"), errors.New("enough")
			ctx, cancel := context.WithCancel(t.Context())
			snapshot, tar := archive.NewPipe[*archive.TreeRow](1), archive.NewPipe[*archive.TreeRow](2)
			go func() {
				for _, path := range paths {
					if snapshot.Put(ctx, row(path)) != nil {
						break
					}
				}
				snapshot.Close(nil)
			}()
			go func() {
				for i, path := range paths {
					if tar.Put(ctx, link(path, "x")) != nil || broken && i == len(paths)/2 {
						break
					}
				}
				if broken {
					tar.Close(end)
				}
				tar.Close(nil)
			}()
			n := 0
			_, err := archive.DiffTrees(ctx, snapshot.All(ctx), tar.All(ctx), archive.DiffOptions{}, func(archive.Difference) error {
				if n == stop {
					return enough
				}
				n++
				return nil
			})
			cancel()
			if err == nil && (stop < len(paths) || broken) || err != nil && err != enough && err != end {
				rt.Errorf("%d found, error %v", n, err)
			}
		})
	})
}
