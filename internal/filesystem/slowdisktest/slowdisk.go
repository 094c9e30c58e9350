// Package slowdisktest shows an image as the one file of a FUSE mount that
// answers as a volume fresh from a snapshot does: the first read of each block
// takes its time, many at once, and later ones take none. It is for benchmarks
// and tests; it needs root and /dev/fuse.
//
// It must run in a process of its own: a process that serves a file and waits
// for a mount on it can hang in the kernel when it is killed.
package slowdisktest

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Name is what the image is called in the mount.
const Name = "disk"

// block is what is slow the first time, in bytes: that of an EBS snapshot.
const block = 512 << 10

// Disk is an image being served.
type Disk struct {
	image  *os.File
	server *fuse.Server
}

// Serve mounts the image at a folder. It reads all of it first, so that what is
// waited for later is latency, and nothing of the disk below.
func Serve(image, at string, latency time.Duration) (*Disk, error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	size, err := io.Copy(io.Discard, f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", image, err)
	}
	node := &file{image: f, size: size, latency: latency, begun: time.Now(), due: make([]atomic.Int64, (size+block-1)/block)}
	server, err := fs.Mount(at, &root{file: node}, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "slowdisk", DirectMountStrict: true, MaxBackground: 512, MaxWrite: block,
		// Without it direct reads of a loop device wait for each other.
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
	}})
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", at, err)
	}
	return &Disk{f, server}, nil
}

// Wait returns once the mount is gone: umount(8) ends it.
func (d *Disk) Wait() error {
	d.server.Wait()
	return d.image.Close()
}

// root is the folder with the file.
type root struct {
	fs.Inode
	file *file
}

// OnAdd puts the file into the folder.
func (r *root) OnAdd(ctx context.Context) {
	r.AddChild(Name, r.NewPersistentInode(ctx, r.file, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}

type file struct {
	fs.Inode
	image   *os.File
	size    int64
	latency time.Duration
	begun   time.Time
	due     []atomic.Int64 // for each block: when it is there, in nanoseconds since begun; 0: nobody has asked
}

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blocks = syscall.S_IFREG|0o600, uint64(f.size), uint64(f.size+511)/512
	return 0
}

func (f *file) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return f.Getattr(ctx, h, out)
}

func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

func (f *file) Read(ctx context.Context, _ fs.FileHandle, to []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if off < 0 || off >= f.size {
		return fuse.ReadResultData(nil), 0
	}
	to = to[:min(int64(len(to)), f.size-off)]
	if !f.wait(ctx, off, int64(len(to))) {
		return nil, syscall.EINTR
	}
	if _, err := f.image.ReadAt(to, off); err != nil {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(to), 0
}

// Write goes through: a filesystem may write its journal.
func (f *file) Write(_ context.Context, _ fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	if off < 0 || int64(len(b)) > f.size-off {
		return 0, syscall.ENOSPC
	}
	n, err := f.image.WriteAt(b, off)
	if err != nil {
		return uint32(n), syscall.EIO
	}
	return uint32(n), 0
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno { return 0 }

// wait waits until all blocks of the range are there.
func (f *file) wait(ctx context.Context, off, n int64) bool {
	if n == 0 {
		return true
	}
	last := int64(0)
	now := int64(time.Since(f.begun)) + 1
	for i := off / block; i <= (off+n-1)/block; i++ {
		f.due[i].CompareAndSwap(0, now+int64(f.latency))
		last = max(last, f.due[i].Load())
	}
	if last <= now {
		return true
	}
	timer := time.NewTimer(time.Duration(last - now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
