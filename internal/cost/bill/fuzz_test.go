package bill_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
)

// small is a bill of a few lines.
func small(f *testing.F, form billtest.Format) []byte {
	f.Helper()
	a := billtest.New(1, day(2024, 2, 1), 1)
	a.Volumes, a.Noise, a.To = a.Volumes[2:3], 2, day(2024, 2, 4)
	var b bytes.Buffer
	if err := a.Write(&b, form, a.Lines(billtest.Daily)); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

func readFrom(t *testing.T, name string, r io.Reader) (bill.Usage, error) {
	u, err := bill.Read(t.Context(), []bill.Input{bill.Stream(name, r)}, bill.Options{})
	for _, s := range u.Snapshots {
		if s.Bytes < 0 || s.Bytes%blockSize != 0 && !s.Average {
			t.Errorf("%s has %d bytes", s.ID, s.Bytes)
		}
	}
	return u, err
}

// However a CSV comes, in which pieces and compressed or not, it reads the same.
func FuzzCSV(f *testing.F) {
	for _, form := range []billtest.Format{billtest.LegacyCSV, billtest.CUR2CSV, billtest.FocusCSV} {
		f.Add(small(f, form))
	}
	f.Add([]byte(header + "\n" + good + "\n\"" + other))
	f.Add([]byte(header + ",x\r\n" + good + ",\"a\"\"\nb\"\r\n\r\n" + strings.Replace(good, "0.1", "-1e-3", 1) + ",\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, magic := range []string{"PAR1", "PK", "\x1f\x8b"} {
			if bytes.HasPrefix(b, []byte(magic)) {
				return
			}
		}
		u, err := readFrom(t, "a.csv", bytes.NewReader(b))
		u2, err2 := readFrom(t, "a.csv", iotest.OneByteReader(bytes.NewReader(b)))
		if d := cmp.Diff(u, u2); d != "" || (err == nil) != (err2 == nil) {
			t.Errorf("in pieces: %v, %v, %s", err, err2, d)
		}
		if len(b) == 0 || b[0] == '{' {
			return
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(b)
		z.Close()
		u2, err2 = readFrom(t, "a.csv", &packed)
		u.Sources, u2.Sources = nil, nil
		if d := cmp.Diff(u, u2); err == nil && d != "" || err == nil && err2 != nil {
			t.Errorf("compressed: %v, %v, %s", err, err2, d)
		}
	})
}

// No Parquet file makes the reader panic, hang or take memory without bound.
func FuzzParquet(f *testing.F) {
	for _, form := range []billtest.Format{billtest.CUR2Parquet, billtest.FocusParquet} {
		f.Add(small(f, form))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return
		}
		b = append([]byte("PAR1"), b[4:]...)
		if _, err := readFrom(t, "a.parquet", bytes.NewReader(b)); err != nil && len(err.Error()) > 2000 {
			t.Errorf("%d bytes of error", len(err.Error()))
		}
	})
}

// No manifest leads out of its folder.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"assemblyId":"1","account":"2","reportName":"r","reportKeys":["p/r/1/a.csv"],"billingPeriod":{"start":"20240101T000000.000Z"}}`))
	f.Add([]byte(`{"dataFiles":["s3://b/p/data/BILLING_PERIOD=2024-01/a.csv","s3://b/a%3db.csv"],"exportArn":"x","executionId":"y"}`))
	f.Add([]byte(`{"reportKeys":["../a.csv","/etc/passwd","a.csv","","x/../../a.csv"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := filepath.Join(t.TempDir(), "1", "2", "3", "4", "5", "6", "7", "8", "9")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "a-Manifest.json")
		for name, text := range map[string]string{path: string(b), filepath.Join(dir, "a.csv"): header + "\n" + good + "\n"} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		in, err := bill.File(path)
		if err != nil {
			t.Fatal(err)
		}
		beside := in.Beside
		in.Beside = func(ctx context.Context, key string) (bill.Input, error) {
			in, err := beside(ctx, key)
			if err == nil && !strings.HasPrefix(in.Name, filepath.Dir(dir)) {
				t.Errorf("%q is %s", key, in.Name)
			}
			if err == nil && in.Name != filepath.Join(dir, "a.csv") {
				return in, fs.ErrNotExist
			}
			return in, err
		}
		u, err := bill.Read(t.Context(), []bill.Input{in}, bill.Options{})
		if err == nil && len(u.Sources) == 0 {
			t.Error("nothing read, and no error")
		}
	})
}
