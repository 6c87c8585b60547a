package hungfs_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/hungfs"
)

func TestFS(t *testing.T) {
	f := hungfs.Mount(t, "server:volume", "fuse.test")
	done := make(chan error, 1)
	go func() {
		_, err := os.ReadDir(f.Dir)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it does not hang: %v", err)
	default:
	}
	f.Wake()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(f.Dir, &st); err != nil || st.Blocks != 1000 {
		t.Errorf("%+v, %v", st, err)
	}
	f.Die()
	if err := unix.Statfs(f.Dir, &st); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("dead, it says %v", err)
	}
}
