package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ZeroOptions says how to overwrite.
type ZeroOptions struct {
	Step int64 // bytes at once; 0 means 32 MiB
	Rate int64 // bytes per second where the device is written to; 0 for no limit
	// Exclusive refuses a device that is mounted, or is being overwritten already.
	Exclusive bool
	// Progress is told how far the work is. It may be nil.
	Progress func(done, total int64)
}

// most is the largest step.
const most = 32 << 20

// Zero overwrites a device or file with zeros, from an offset to another; to the end
// where that is 0. A device that can do so by itself is told to: then the rate does
// not apply. It ends with ctx, between two steps.
func Zero(ctx context.Context, path string, from, to int64, o ZeroOptions) error {
	flags := os.O_WRONLY | unix.O_CLOEXEC
	if o.Exclusive {
		flags |= syscall.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(zero(ctx, f, from, to, o), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("zero %s: %w", path, err)
	}
	return nil
}

func zero(ctx context.Context, f *os.File, from, to int64, o ZeroOptions) error {
	if to == 0 {
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		to = end
	}
	step := o.Step
	if step <= 0 || step > most {
		step = most
	}
	byItself := true // until the device shows otherwise
	if o.Rate > 0 {
		byItself = offloads(f)
	}
	var buf []byte
	begun := time.Now()
	for at := from; at < to; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(step, to-at)
		if byItself {
			if err := zeroOut(f, at, n); err == nil {
				at += n
				o.tell(at-from, to-from)
				continue
			}
			byItself = false // a file, or a kernel that cannot
		}
		if n = min(n, 1<<20); buf == nil {
			buf = make([]byte, 1<<20)
		}
		if _, err := f.WriteAt(buf[:n], at); err != nil {
			return err
		}
		at += n
		o.tell(at-from, to-from)
		if err := o.brake(ctx, begun, at-from); err != nil {
			return err
		}
	}
	return nil
}

func (o ZeroOptions) tell(done, total int64) {
	if o.Progress != nil {
		o.Progress(done, total)
	}
}

// brake waits until done bytes are not more than the rate allows.
func (o ZeroOptions) brake(ctx context.Context, begun time.Time, done int64) error {
	if o.Rate <= 0 {
		return nil
	}
	due := begun.Add(time.Duration(float64(done) / float64(o.Rate) * float64(time.Second)))
	wait := time.NewTimer(time.Until(due))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-wait.C:
		return nil
	}
}

// zeroOut has the kernel zero a part of a device, which it may leave to the device.
func zeroOut(f *os.File, from, length int64) error {
	part := [2]uint64{uint64(from), uint64(length)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&part)))
	if errno != 0 {
		return errno
	}
	return nil
}

// offloads tells whether a device zeroes by itself, without data being sent to it.
func offloads(f *os.File) bool {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/queue/write_zeroes_max_bytes", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))))
	return err == nil && len(text) > 0 && string(text) != "0\n"
}
