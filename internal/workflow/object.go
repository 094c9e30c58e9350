package workflow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"

	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/objstore"
)

// object is one object that is read from its first byte to its last.
type object struct {
	key   string
	plain io.Reader // decrypted; as it is stored where nothing is encrypted
	raw   *objectReader
	gpg   *decrypted // nil: nothing is encrypted
	get   *objstore.Reader
	open  []io.Closer // in the order of opening
}

// decrypted is the plain bytes of an encrypted object. It tells a gpg that could
// not work from a message that gpg found damaged.
type decrypted struct {
	from io.ReadCloser

	mu  sync.Mutex
	err error // what kept gpg from decrypting it
}

func (d *decrypted) Read(p []byte) (int, error) {
	n, err := d.from.Read(p)
	if err != nil && err != io.EOF && !errors.Is(err, encrypt.ErrDamaged) {
		d.mu.Lock()
		d.err = err
		d.mu.Unlock()
	}
	return n, err
}

func (d *decrypted) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// objectReader is the stored bytes of an object. It tells a store that could not
// give them from an object that holds the wrong ones.
type objectReader struct {
	from     io.Reader
	progress func(int64)
	sum      hash.Hash // of all that was read; nil: not wanted

	mu  sync.Mutex
	err error // what kept the store from giving it
}

func (r *objectReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if r.sum != nil {
		r.sum.Write(p[:n])
	}
	if r.progress != nil {
		r.progress(int64(n))
	}
	if err != nil && err != io.EOF {
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
	}
	return n, err
}

// openStored opens an object as it is stored, with its SHA-256.
func openStored(ctx context.Context, r *readback, info objstore.Info) *object {
	o := objstore.ReadOptions{Log: r.log}
	if info.Key != r.a.key { // entries are small beside their archive
		o.Streams, o.Chunk = 2, 1<<20
	}
	get := objstore.NewReader(ctx, r.store, info, o)
	raw := &objectReader{from: get, sum: sha256.New()}
	return &object{key: info.Key, plain: raw, raw: raw, get: get, open: []io.Closer{get}}
}

// openObject opens an object and decrypts it where it is encrypted.
func openObject(ctx context.Context, r *readback, info objstore.Info, key *encrypt.SessionKey) (*object, error) {
	o := openStored(ctx, r, info)
	if info.Key == r.a.key { // its checksum is the CRC, and its bytes are counted
		o.raw.sum, o.raw.progress = nil, r.progress
	}
	if !r.a.encrypted {
		return o, nil
	}
	plain, err := r.gpg.Decrypt(ctx, o.raw, key)
	if err != nil {
		o.close()
		return nil, err
	}
	o.gpg = &decrypted{from: plain}
	o.plain = o.gpg
	o.open = append(o.open, plain)
	return o, nil
}

// failure is what kept the store from giving the object.
func (o *object) failure() error {
	o.raw.mu.Lock()
	defer o.raw.mu.Unlock()
	return o.raw.err
}

// end reads to the end what a decoder has left, which must be nothing, and waits
// for the word of who decrypts it.
func (o *object) end() error {
	_, err := io.Copy(io.Discard, o.plain)
	return err
}

// rest reads what is left of the object as it is stored, and returns the SHA-256
// of all of it.
func (o *object) rest() (string, error) {
	if err := o.end(); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, o.raw); err != nil {
		return "", err
	}
	return hex.EncodeToString(o.raw.sum.Sum(nil)), nil
}

// stored reads what is left of an object that gpg does not decrypt, and returns its
// checksum: that in the record of an object like it is had by the same name.
func (o *object) stored() (sum string, err error) {
	// It may be reading still. That it was ended is no news.
	_ = o.gpg.from.Close()
	if _, err := io.Copy(io.Discard, o.raw); err != nil {
		return "", err
	}
	if o.raw.sum == nil {
		return o.crc(), nil
	}
	return hex.EncodeToString(o.raw.sum.Sum(nil)), nil
}

// crc is the object's CRC-64/NVME, once all of it was read.
func (o *object) crc() string { return o.get.CRC64NVME() }

// close ends what is open, last first. What it says does not matter any more.
func (o *object) close() {
	for i := len(o.open) - 1; i >= 0; i-- {
		_ = o.open[i].Close()
	}
}
