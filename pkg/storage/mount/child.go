package mount

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// childFD is where the child finds the file that is its lock and takes its answer.
const childFD = 3

// Child is the life of the process that a [Prober] starts. It returns the exit code.
func Child(args []string) int {
	f := os.NewFile(childFD, "probe")
	if len(args) != 1 || f == nil {
		return 2
	}
	syscall.CloseOnExec(childFD)
	r := readRecord(f)
	if r.began.IsZero() {
		return 2 // it was not given one
	}
	answered := make(chan record, 1)
	go func() { answered <- r.of(args[0]) }()
	select {
	case r = <-answered:
	case <-unmounted(args[0]):
		return 1
	}
	if err := writeRecord(f, r); err != nil {
		return 1
	}
	return 0
}

// of completes a record with the answer of a file system.
func (r record) of(path string) record {
	st, err := storage.FileSystem(path)
	r.st, r.ended = st, time.Now()
	if err != nil {
		r.errno = syscall.EIO
		_ = errors.As(err, &r.errno)
	}
	return r
}

// lookEvery is how often a child that waits looks whether anybody can want its answer.
const lookEvery = 10 * time.Second

// unmounted tells when a path is a mount point no more; nothing where it was none. Most
// file systems let go of a process that ends while it waits for them; where they do not,
// it stays until they answer.
func unmounted(path string) <-chan struct{} {
	mounted := func() bool {
		table, err := Table()
		return err != nil || slices.ContainsFunc(table, func(e Entry) bool { return e.Point == path })
	}
	if !mounted() {
		return nil // it lies below a mount point, or is a link
	}
	gone := make(chan struct{})
	go func() {
		for mounted() {
			time.Sleep(lookEvery)
		}
		close(gone)
	}()
	return gone
}
