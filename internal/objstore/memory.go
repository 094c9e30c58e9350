package objstore

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // S3's ETags are MD5; nothing is protected by it
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/crc64nvme"
)

// MemoryOptions changes what a Memory store does. The zero value is a store
// with the limits of S3.
type MemoryOptions struct {
	Limits Limits
	Now    func() time.Time // time.Now when nil
	// Fault, unless nil, is asked before each operation ("put", "begin",
	// "part", "complete", "abort", "open", "stat", "list", "list uploads"): an error fails it, before
	// it had any effect.
	Fault func(op, key string) error
}

// Memory is a Store in memory, as strict as S3 about parts, conditions and
// archive classes. It is for tests, and for dry runs of what writes to a store.
type Memory struct {
	options MemoryOptions

	mu      sync.Mutex
	objects map[string]*memoryObject
	uploads map[string]*memoryParts // by upload id
	lastID  int
}

// memoryParts is an upload that is not finished.
type memoryParts struct {
	key   string
	begun time.Time
	parts map[int][]byte
}

type memoryObject struct {
	info Info
	tags []Tag
	data []byte
}

// NewMemory returns an empty store.
func NewMemory(o MemoryOptions) *Memory {
	o.Limits = o.Limits.orS3()
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Memory{options: o, objects: map[string]*memoryObject{}, uploads: map[string]*memoryParts{}}
}

// Create starts an object.
func (m *Memory) Create(ctx context.Context, key string, o CreateOptions) (Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return NewWriter(ctx, &memoryUploader{store: m, key: key, options: o}, key, o, m.options.Limits)
}

// Stat tells of an object.
func (m *Memory) Stat(ctx context.Context, key string) (Info, error) {
	if err := m.start(ctx, "stat", key); err != nil {
		return Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return Info{}, fmt.Errorf("look up %s: %w", key, ErrNotExist)
	}
	return o.copyInfo(), nil
}

// Keys lists what is there, in order.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// Tags are an object's tags as they were given.
func (m *Memory) Tags(key string) []Tag {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o, ok := m.objects[key]; ok {
		return slices.Clone(o.tags)
	}
	return nil
}

// Unfinished lists the uploads that are neither completed nor aborted.
func (m *Memory) Unfinished(ctx context.Context, prefix string) iter.Seq2[Unfinished, error] {
	return func(yield func(Unfinished, error) bool) {
		if err := m.start(ctx, "list uploads", prefix); err != nil {
			yield(Unfinished{}, err)
			return
		}
		for _, u := range m.unfinished(prefix) {
			if !yield(u, nil) {
				return
			}
		}
	}
}

func (m *Memory) unfinished(prefix string) []Unfinished {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Unfinished
	for id, u := range m.uploads {
		if strings.HasPrefix(u.key, prefix) {
			all = append(all, Unfinished{Key: u.key, ID: id, Begun: u.begun})
		}
	}
	slices.SortFunc(all, func(a, b Unfinished) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID)) })
	return all
}

// AbortUpload takes an upload back.
func (m *Memory) AbortUpload(ctx context.Context, key, id string) error {
	return (&memoryUploader{store: m, key: key, id: id}).Abort(ctx)
}

// Uploads counts the multipart uploads that are neither completed nor aborted.
func (m *Memory) Uploads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.uploads)
}

// Thaw makes an object of an archive class readable.
func (m *Memory) Thaw(key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return fmt.Errorf("thaw %s: %w", key, ErrNotExist)
	}
	until := m.options.Now().Add(24 * time.Hour).UTC().Format(time.RFC1123)
	o.info.Restore = fmt.Sprintf(`ongoing-request="false", expiry-date="%s"`, until)
	return nil
}

func (m *Memory) start(ctx context.Context, op, key string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, key, context.Cause(ctx))
	}
	if m.options.Fault == nil {
		return nil
	}
	return m.options.Fault(op, key)
}

// store makes data an object, when the condition of the write holds.
func (m *Memory) store(key string, data []byte, etag string, o CreateOptions) (Info, error) {
	old, exists := m.objects[key]
	switch {
	case o.IfMatch != "" && (!exists || old.info.ETag != o.IfMatch):
		return Info{}, fmt.Errorf("replace %s: %w", key, ErrExists)
	case o.IfMatch == "" && exists:
		return Info{}, fmt.Errorf("store %s: %w", key, ErrExists)
	}
	class := o.StorageClass
	if class == "" {
		class = "STANDARD"
	}
	obj := &memoryObject{data: data, tags: slices.Clone(o.Tags), info: Info{
		Key: key, Size: int64(len(data)), ETag: etag,
		CRC64NVME:    FormatCRC64NVME(crc64nvme.Checksum(data)),
		StorageClass: class, Metadata: maps.Clone(o.Metadata),
		Modified: m.options.Now(), Encryption: o.Encryption,
	}}
	m.objects[key] = obj
	return obj.copyInfo(), nil
}

func (o *memoryObject) copyInfo() Info {
	info := o.info
	info.Metadata = maps.Clone(info.Metadata)
	return info
}

// memoryUploader is one object on its way into a Memory store.
type memoryUploader struct {
	store   *Memory
	key     string
	options CreateOptions
	id      string
}

func (u *memoryUploader) Put(ctx context.Context, p Part) (Info, error) {
	if err := u.store.start(ctx, "put", u.key); err != nil {
		return Info{}, err
	}
	data, err := readPart(p)
	if err != nil {
		return Info{}, fmt.Errorf("store %s: %w", u.key, err)
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	return u.store.store(u.key, data, etagOf(data), u.options)
}

func (u *memoryUploader) Begin(ctx context.Context) (string, error) {
	if err := u.store.start(ctx, "begin", u.key); err != nil {
		return "", err
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	u.store.lastID++
	u.id = fmt.Sprintf("upload-%d", u.store.lastID)
	u.store.uploads[u.id] = &memoryParts{u.key, u.store.options.Now(), map[int][]byte{}}
	return u.id, nil
}

func (u *memoryUploader) UploadPart(ctx context.Context, p Part) (string, error) {
	if err := u.store.start(ctx, "part", u.key); err != nil {
		return "", err
	}
	data, err := readPart(p)
	if err != nil {
		return "", fmt.Errorf("upload part %d of %s: %w", p.Number, u.key, err)
	}
	if p.Number > u.store.options.Limits.MaxParts || p.Size > u.store.options.Limits.MaxPart {
		return "", fmt.Errorf("upload part %d of %s: over the limits of the store", p.Number, u.key)
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	up, ok := u.store.uploads[u.id]
	if !ok {
		return "", fmt.Errorf("upload part %d of %s: no such upload", p.Number, u.key)
	}
	up.parts[p.Number] = data
	return etagOf(data), nil
}

func (u *memoryUploader) Complete(ctx context.Context, w Whole) (Info, error) {
	if err := u.store.start(ctx, "complete", u.key); err != nil {
		return Info{}, err
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	up, ok := u.store.uploads[u.id]
	if !ok {
		return Info{}, fmt.Errorf("complete %s: no such upload", u.key)
	}
	data := make([]byte, 0, w.Size)
	for i, p := range w.Parts {
		part, ok := up.parts[p.Number]
		if !ok || etagOf(part) != p.ETag {
			return Info{}, fmt.Errorf("complete %s: part %d is not there", u.key, p.Number)
		}
		if i < len(w.Parts)-1 && p.Size < u.store.options.Limits.MinPart {
			return Info{}, fmt.Errorf("complete %s: part %d is too small", u.key, p.Number)
		}
		data = append(data, part...)
	}
	if int64(len(data)) != w.Size || crc64nvme.Checksum(data) != w.CRC64NVME {
		return Info{}, fmt.Errorf("complete %s: the parts are not what was announced", u.key)
	}
	info, err := u.store.store(u.key, data, etagOf(data, len(w.Parts)), u.options)
	if err == nil {
		delete(u.store.uploads, u.id)
	}
	return info, err
}

func (u *memoryUploader) Abort(ctx context.Context) error {
	if err := u.store.start(ctx, "abort", u.key); err != nil {
		return err
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	delete(u.store.uploads, u.id)
	return nil
}

func readPart(p Part) ([]byte, error) {
	if _, err := p.Body.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(p.Body)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != p.Size || crc64nvme.Checksum(data) != p.CRC64NVME {
		return nil, errors.New("the part is not what was announced")
	}
	return data, nil
}

// etagOf is quoted, as S3's are; parts are named after a dash where there were some.
func etagOf(data []byte, parts ...int) string {
	sum := md5.Sum(data) //nolint:gosec // S3's ETags are MD5; nothing is protected by it
	tag := hex.EncodeToString(sum[:])
	for _, n := range parts {
		tag = fmt.Sprintf("%s-%d", tag, n)
	}
	return `"` + tag + `"`
}
