package storage

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// ImageInfo looks at the image in a file. What raw and qcow2 images say of themselves
// is read here, as it takes a program's start off each line of a list; other formats
// are left to qemu-img. A file that is not there is told to the user and is
// [ErrNotExist].
func ImageInfo(ctx context.Context, env Env, path, format string) (Info, error) {
	st, err := os.Stat(path)
	if err != nil {
		fmt.Fprintf(api.StreamsOf(ctx).Err, "failed to stat '%s'\n", path)
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotExist
		}
		return Info{}, fmt.Errorf("%s: %w", path, err)
	}
	info := Info{Format: format, Used: used(st)}
	switch {
	case st.IsDir():
		info.Format = "subvol"
		return info, nil
	case format == "raw" && st.Mode().IsRegular():
		info.Size = (st.Size() + 511) &^ 511 // as QEMU sees it
		return info, nil
	case format == "qcow2" && (st.Mode().IsRegular() || st.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice):
		if size, parent, err := qcow2Header(path); err == nil {
			info.Size, info.Parent = size, parent
			return info, nil
		}
	}
	return qemuInfo(ctx, env, path, info)
}

func used(st fs.FileInfo) int64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Blocks * 512
	}
	return 0
}

// qemuInfo asks qemu-img. -U reads images that are in use.
func qemuInfo(ctx context.Context, env Env, path string, info Info) (Info, error) {
	args := []string{"info", "-U", "--output=json"}
	if info.Format != "" {
		args = append(args, "-f", info.Format)
	}
	out, err := run.OutputOf(ctx, env.Runner, run.Cmd{Path: env.QEMUImg, Args: append(args, path), ReadOnly: true})
	if err != nil {
		return info, err
	}
	var said struct {
		Size   int64  `json:"virtual-size"`
		Format string `json:"format"`
		Parent string `json:"backing-filename"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return info, fmt.Errorf("%s: could not parse qemu-img info output: %w", path, err)
	}
	info.Size, info.Format, info.Parent = said.Size, said.Format, said.Parent
	return info, nil
}

var errHeader = errors.New("no qcow2 header")

// qcow2Header reads the size of the disk and the name of the backing file.
func qcow2Header(path string) (size int64, parent string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close() //nolint:errcheck // only read
	var head [104]byte
	if _, err := f.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, "", err
	}
	return parseQcow2(head[:], func(b []byte, off int64) error {
		_, err := f.ReadAt(b, off)
		return err
	})
}

// parseQcow2 reads a qcow2 header of version 2 or 3. read gets bytes from elsewhere in
// the image.
func parseQcow2(head []byte, read func(b []byte, off int64) error) (int64, string, error) {
	if len(head) < 72 || string(head[:4]) != "QFI\xfb" {
		return 0, "", errHeader
	}
	if v := binary.BigEndian.Uint32(head[4:]); v != 2 && v != 3 {
		return 0, "", errHeader
	}
	off, n := binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint32(head[16:])
	size := binary.BigEndian.Uint64(head[24:])
	// The format allows names of up to 1023 bytes, which lie in the first cluster.
	if size > 1<<62 || n > 1023 || off > 2<<20 {
		return 0, "", errHeader
	}
	if off == 0 || n == 0 {
		return int64(size), "", nil
	}
	name := make([]byte, n)
	if err := read(name, int64(off)); err != nil {
		return 0, "", err
	}
	return int64(size), string(name), nil
}
