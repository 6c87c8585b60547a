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
	go leave(args[0])
	st, err := storage.FileSystem(args[0])
	r.st, r.ended = st, time.Now()
	if err != nil {
		r.errno = syscall.EIO
		_ = errors.As(err, &r.errno)
	}
	if err := writeRecord(f, r); err != nil {
		return 1
	}
	return 0
}

// leaveEvery is how often a child that waits looks whether anybody can want its answer.
const leaveEvery = 10 * time.Second

// leave ends the process when what it waits for is mounted no more. Most file systems
// let go of a process that ends; where they do not, it stays until they answer.
func leave(path string) {
	mounted := func() bool {
		table, err := Table()
		return err != nil || slices.ContainsFunc(table, func(e Entry) bool { return e.Point == path })
	}
	if !mounted() {
		return // it lies below a mount point, or is a link
	}
	for mounted() {
		time.Sleep(leaveEvery)
	}
	os.Exit(1)
}
