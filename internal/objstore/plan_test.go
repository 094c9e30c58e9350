package objstore_test

import (
	"testing"

	"pgregory.net/rapid"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
	tib = int64(1) << 40
)

func TestPlanFirstPart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ bound, fixed, first int64 }{
		{0, 0, 8 * mib},
		{1 * gib, 0, 8 * mib},
		{9000 * 8 * mib, 0, 8 * mib},
		{9000*8*mib + 1, 0, 9 * mib},
		{1 * tib, 0, 117 * mib},
		{16 * tib, 0, 1865 * mib},
		{10_000 * 5 * gib, 0, 5 * gib},
		{64 * tib, 0, 5 * gib},
		{1 * gib, 5 * mib, 5 * mib},
		{10_000 * 16 * mib, 16 * mib, 16 * mib},
	} {
		p, err := objstore.NewPlan(c.bound, c.fixed, objstore.S3Limits())
		if err != nil || p.First() != c.first {
			t.Errorf("plan of bound %d, fixed %d: first part %d, %v; want %d", c.bound, c.fixed, p.First(), err, c.first)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		bound, fixed int64
		text, hint   string
	}{
		{
			1 * gib, 5*mib - 1, "part size of 5.0 MiB is outside what the store takes: 5 MiB to 5 GiB",
			"choose another --part-size, or leave it out: it is then derived from the size of the snapshot",
		},
		{
			1 * gib, 6 * gib, "part size of 6 GiB is outside what the store takes: 5 MiB to 5 GiB",
			"choose another --part-size, or leave it out: it is then derived from the size of the snapshot",
		},
		{
			100 * gib, 8 * mib, "an object of up to 100 GiB needs 12800 parts of 8 MiB, the store takes 10000",
			"use a --part-size of at least 11 MiB, or leave it out",
		},
	} {
		_, err := objstore.NewPlan(c.bound, c.fixed, objstore.S3Limits())
		if err == nil || err.Error() != c.text || hint.Of(err) != c.hint {
			t.Errorf("plan of bound %d, fixed %d: %v, hint %q\nwant %s, hint %q", c.bound, c.fixed, err, hint.Of(err), c.text, c.hint)
		}
	}
}

// Whatever the bound, an object half as large again still fits (or, on S3, one
// 2.5 TiB larger), and any of up to 1,000 GiB does; no part is
// outside what S3 takes, sizes never shrink, and within the bound all are equal.
func TestPlanFits(t *testing.T) {
	t.Parallel()
	limits := objstore.S3Limits()
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(0, limits.MaxObject).Draw(t, "bound")
		p, err := objstore.NewPlan(bound, 0, limits)
		if err != nil {
			t.Fatal(err)
		}
		var total, last int64
		for n := 1; n <= limits.MaxParts; n++ {
			part := p.Part(n)
			if part < max(last, limits.MinPart) || part > limits.MaxPart {
				t.Fatalf("part %d has %d bytes after one of %d", n, part, last)
			}
			if total < bound && part != p.First() {
				t.Fatalf("part %d has %d bytes, first %d, within the bound", n, part, p.First())
			}
			total, last = total+part, part
		}
		if want := min(limits.MaxObject, max(bound+min(bound/2, 5*tib/2), 1000*gib)); total < want {
			t.Fatalf("10,000 parts hold %d GiB, want %d", total/gib, want/gib)
		}
	})
}

func TestPlanPartsAgreesWithPart(t *testing.T) {
	t.Parallel()
	limits := objstore.Limits{MinPart: 4, Floor: 4, MaxPart: 64, MaxParts: 40, MaxObject: 4000}
	for bound := int64(0); bound < 400; bound += 7 {
		p, err := objstore.NewPlan(bound, 0, limits)
		if err != nil {
			t.Fatal(err)
		}
		var total int64
		for n := 1; n <= 40; n++ {
			total += p.Part(n)
			if got := p.Parts(total); got != n {
				t.Fatalf("bound %d: %d bytes take %d parts, want %d", bound, total, got, n)
			}
			if got := p.Parts(total + 1); got != n+1 {
				t.Fatalf("bound %d: %d bytes take %d parts, want %d", bound, total+1, got, n+1)
			}
		}
	}
	if p, err := objstore.NewPlan(0, 0, limits); err != nil || p.Parts(0) != 1 {
		t.Errorf("an empty object takes %d parts, %v; want 1", p.Parts(0), err)
	}
}
