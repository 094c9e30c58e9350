package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/objstore/objstoretest"
)

// readAll reads an object by ranges.
func readAll(t *testing.T, s objstore.Store, info objstore.Info, o objstore.ReadOptions) ([]byte, string, error) {
	t.Helper()
	o.Log, o.Backoff = testLog(t), time.Millisecond
	r := objstore.NewReader(t.Context(), s, info, o)
	data, err := io.ReadAll(r)
	return data, r.CRC64NVME(), errors.Join(err, r.Close())
}

// Nothing that passes is seen by who reads.
func TestReaderOverFaults(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	b.store = b.open(bucket, aws.Options{Stall: 200 * time.Millisecond}, s3.Options{})
	data := random(t, 60*simPart+5)
	info := put(t, b.store, "k", data, objstore.CreateOptions{})
	for name, faults := range map[string][]awssim.Fault{
		"cut":      {{CutBody: 1}, {CutBody: 1000}, {CutBody: 3 * simPart}, {CutBefore: true}},
		"hangs":    {{HangBody: 1}, {HangBody: simPart}, {Hang: true}},
		"short":    {{ShortRange: 1}, {ShortRange: 2*simPart + 1}},
		"refused":  {{Before: &awssim.Error{Status: 500, Code: "InternalError"}}, {Before: &awssim.Error{Status: 503, Code: "ServiceUnavailable"}}, {Throttle: true}},
		"anything": {{CutBody: 5000}, {HangBody: 5000}, {ShortRange: 5000}, {Throttle: true}, {Before: &awssim.Error{Status: 500, Code: "InternalError"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			dice, left := rand.New(rand.NewPCG(1, 2)), 3*len(faults)
			b.sim.SetFault(func(c awssim.Call) awssim.Fault {
				mu.Lock()
				defer mu.Unlock()
				if c.Action != "GetObject" || left == 0 || dice.IntN(2) == 0 {
					return awssim.Fault{}
				}
				left--
				return faults[left%len(faults)]
			})
			defer b.sim.SetFault(nil)
			for _, o := range []objstore.ReadOptions{{}, {Streams: 3, Chunk: 7 * simPart}, {Streams: 2, Chunk: 7 * simPart, Off: 99, Len: 50 * simPart}} {
				want, crc := data[o.Off:], info.CRC64NVME
				if o.Len > 0 {
					want, crc = want[:o.Len], ""
				}
				got, sum, err := readAll(t, b.store, info, o)
				if err != nil || !bytes.Equal(got, want) || sum != crc {
					t.Errorf("%+v: %d bytes, %q, %v; want %d, %q", o, len(got), sum, err, len(want), crc)
				}
			}
		})
	}
}

// What does not pass is one line with the key and the byte.
func TestReaderGivesUp(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	b.store = b.open(bucket, aws.Options{Stall: 100 * time.Millisecond}, s3.Options{})
	info := put(t, b.store, "k", random(t, 3*simPart), objstore.CreateOptions{})
	for _, c := range []struct {
		fault awssim.Fault
		text  string
	}{
		{awssim.Fault{CutBody: 10}, "read k at byte 30, cut off 3 times: receive from bucket archive: "},
		{awssim.Fault{HangBody: 10}, "read k at byte 30, cut off 3 times: receive from bucket archive: "},
		{awssim.Fault{ShortRange: 10}, "read k at byte 30, cut off 3 times: receive from bucket archive: "},
		{awssim.Fault{Before: &awssim.Error{Status: 500, Code: "InternalError"}}, "from byte 0 on: read k in bucket archive: InternalError"},
		{awssim.Fault{Before: &awssim.Error{Status: 403, Code: "ExpiredToken"}}, "credentials have expired"},
	} {
		b.sim.SetFault(awssim.Times(1000, awssim.Action("GetObject"), c.fault))
		_, sum, err := readAll(t, b.store, info, objstore.ReadOptions{Tries: 2})
		wantError(t, err, c.text, "")
		if sum != "" {
			t.Errorf("%s: there is a checksum: %s", c.text, sum)
		}
	}
}

// The object is another one, or cold again, before the second range.
func TestReaderOfAnObjectThatChanges(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	data := random(t, 20*simPart)
	first := put(t, b.store, "k", data, objstore.CreateOptions{})
	begin := func(info objstore.Info) *objstore.Reader {
		t.Helper()
		r := objstore.NewReader(t.Context(), b.store, info, objstore.ReadOptions{Streams: 1, Chunk: simPart})
		got := make([]byte, 10)
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, data[:10]) {
			t.Fatal("the first bytes are others", err)
		}
		return r
	}
	end := func(r *objstore.Reader, want error) {
		t.Helper()
		rest, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); !errors.Is(err, want) || !bytes.Equal(rest, data[10:10+len(rest)]) {
			t.Errorf("%d bytes more, %v; want %v", len(rest), err, want)
		}
	}
	r := begin(first)
	put(t, b.store, "k", random(t, 20*simPart+1), objstore.CreateOptions{IfMatch: first.ETag})
	end(r, objstore.ErrChanged)

	put(t, b.store, "cold", data, objstore.CreateOptions{StorageClass: "DEEP_ARCHIVE"})
	now := b.thaw("cold")
	if err := b.stat("cold").Readable(); !errors.Is(err, objstore.ErrArchived) || !errors.Is(err, objstore.ErrThawing) {
		t.Errorf("a thaw is under way: %v", err)
	}
	b.sim.SetClock(func() time.Time { return now.Add(13 * time.Hour) })
	info := b.stat("cold")
	if err := info.Readable(); err != nil {
		t.Errorf("it is thawed: %v", err)
	}
	r = begin(info)
	b.sim.SetClock(func() time.Time { return now.Add(72 * time.Hour) })
	end(r, objstore.ErrArchived)
	if err := b.stat("cold").Readable(); !errors.Is(err, objstore.ErrArchived) || errors.Is(err, objstore.ErrThawing) {
		t.Errorf("the thaw has ended: %v", err)
	}
}

func (b *sandbox) stat(key string) objstore.Info {
	b.Helper()
	info, err := b.store.Stat(b.Context(), key)
	if err != nil {
		b.Fatal(err)
	}
	return info
}

// thaw asks for a day of an object, twelve hours from now, and makes the sandbox's
// clock stand.
func (b *sandbox) thaw(key string) time.Time {
	b.Helper()
	now := time.Now()
	b.sim.SetClock(func() time.Time { return now })
	session, err := aws.Load(b.Context(), aws.Options{})
	if err != nil {
		b.Fatal(err)
	}
	client := awss3.NewFromConfig(session.Config, func(o *awss3.Options) { o.UsePathStyle = true })
	if _, err := client.RestoreObject(b.Context(), &awss3.RestoreObjectInput{
		Bucket: awssdk.String(bucket), Key: &key,
		RestoreRequest: &types.RestoreRequest{Days: awssdk.Int32(1), GlacierJobParameters: &types.GlacierJobParameters{Tier: types.TierStandard}},
	}); err != nil {
		b.Fatal(err)
	}
	return now
}

// An archive tier is as cold as an archive class, and only HEAD tells of it.
func TestArchiveTier(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	put(t, b.store, "k", []byte("abc"), objstore.CreateOptions{StorageClass: "INTELLIGENT_TIERING"})
	if err := b.stat("k").Readable(); err != nil {
		t.Errorf("in no archive tier: %v", err)
	}
	if err := b.sim.SetArchiveTier(bucket, "k", "DEEP_ARCHIVE_ACCESS"); err != nil {
		t.Fatal(err)
	}
	err := b.stat("k").Readable()
	wantError(t, err, "k, class INTELLIGENT_TIERING, tier DEEP_ARCHIVE_ACCESS: object is in an archive storage class", "")
	if _, openErr := b.store.Open(t.Context(), "k", objstore.Range{}); !errors.Is(err, objstore.ErrArchived) || !errors.Is(openErr, objstore.ErrArchived) {
		t.Errorf("readable: %v, open: %v; want ErrArchived", err, openErr)
	}
}

// versitygw behind a line that cuts every answer somewhere, or lets it hang.
func TestReaderOverABadLine(t *testing.T) {
	server := objstoretest.StartVersitygw(t, objstoretest.VersitygwOptions{Buckets: []string{bucket}})
	open := func(endpoint string, stall time.Duration) *s3.Store {
		t.Helper()
		setEnv(t, endpoint, server.AccessKey, server.SecretKey)
		session, err := aws.Load(t.Context(), aws.Options{Stall: stall, MaxBackoff: 5 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		store, err := s3.New(session, bucket, s3.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	data := random(t, 12<<20+77)
	info := put(t, open(server.Endpoint, 0), "k", data, objstore.CreateOptions{Streams: 2})
	bad := open(badLine(t, server.Endpoint), 300*time.Millisecond)
	for _, o := range []objstore.ReadOptions{{Chunk: 5 << 20}, {Streams: 2, Chunk: 1 << 20}, {Off: 3 << 20, Len: 2<<20 + 1}} {
		want, crc := data[o.Off:], info.CRC64NVME
		if o.Len > 0 {
			want, crc = want[:o.Len], ""
		}
		got, sum, err := readAll(t, bad, info, o)
		if err != nil || !bytes.Equal(got, want) || sum != crc {
			t.Errorf("%+v: %d bytes, %q, %v; want %d, %q", o, len(got), sum, err, len(want), crc)
		}
	}
}

// badLine forwards connections, each for 300 KB to 2 MB of what comes back: then it
// is cut, or for every fifth nothing comes any more.
func badLine(t *testing.T, endpoint string) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		_ = l.Close() // the test is over
		running.Wait()
	})
	running.Go(func() {
		dice := rand.New(rand.NewPCG(3, 4))
		for n := 1; ; n++ {
			client, err := l.Accept()
			if err != nil {
				return
			}
			bytes, hang := 300_000+dice.Int64N(1_700_000), n%5 == 0
			running.Go(func() { forward(ctx, client, endpoint[len("http://"):], bytes, hang) })
		}
	})
	return "http://" + l.Addr().String()
}

// forward ends with either side, or ctx; what goes wrong is the client's to see.
func forward(ctx context.Context, client net.Conn, address string, most int64, hang bool) {
	defer client.Close()
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(server, client)
	}()
	_, err = io.CopyN(client, server, most)
	if hang && err == nil {
		<-gone // the client gives up
	}
}
