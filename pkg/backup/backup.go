// Package backup is what guests are saved in: so far, what an archive says of the guest
// that it was made of.
package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/vma"
)

// The names that configurations have inside archives.
const (
	vmConfig        = "qemu-server.conf"
	containerConfig = "etc/vzdump/pct.conf"
)

// mostConfig bounds the size of a configuration in an archive, in bytes: pmxcfs keeps no
// larger files.
const mostConfig = 1 << 20

// Config returns the configuration that a backup holds, as the archive has it: with the
// lines of the VM's disks that vzdump adds. Only as much of the archive is read as lies
// before it.
func Config(ctx context.Context, s *storage.Service, r run.Runner, v id.Volume) ([]byte, error) {
	n, err := s.Parse(ctx, v)
	if err != nil {
		return nil, err
	}
	if n.Content != storage.Backups {
		return nil, fmt.Errorf("volume '%s' is not a backup", v)
	}
	if err := s.ActivateVolumes(ctx, "", v); err != nil {
		return nil, err
	}
	file, err := s.Path(ctx, v, "")
	if err != nil {
		return nil, err
	}
	archive, err := storage.ParseArchive(n.File, time.UTC)
	if err != nil {
		return nil, err
	}
	find := fromTar
	if archive.Format == "vma" {
		find = fromVMA
	}
	config, err := read(ctx, r, file, archive.Compression, find)
	if err != nil {
		return nil, fmt.Errorf("backup '%s': %w", v, err)
	}
	return config, nil
}

// read has find look into an archive, through the program that undoes its compression. The
// program ends when find has seen enough.
func read(ctx context.Context, r run.Runner, file, compression string, find func(io.Reader) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		c := decompress(file, compression)
		c.Stdout, c.ReadOnly = out, true
		err := r.Run(ctx, c)
		out.CloseWithError(err)
		done <- err
	}()
	config, err := find(in)
	_ = in.CloseWithError(errEnough)
	cancel()
	if failed := <-done; err != nil && failed != nil && !errors.Is(failed, context.Canceled) && !errors.Is(failed, errEnough) {
		err = failed // why the archive ended so early
	}
	return config, err
}

var errEnough = errors.New("enough was read")

// decompress is the program that writes what a file holds.
func decompress(file, compression string) run.Cmd {
	switch compression {
	case "gz":
		return run.Command("gzip", "-dc", file)
	case "lzo":
		return run.Command("lzop", "-dc", file)
	case "zst":
		return run.Command("zstd", "-qdc", file)
	case "bz2":
		return run.Command("bzip2", "-dc", file)
	}
	return run.Command("cat", file)
}

func fromVMA(r io.Reader) ([]byte, error) {
	h, err := vma.ReadHeader(r)
	if err != nil {
		return nil, err
	}
	for _, c := range h.Configs {
		if c.Name == vmConfig {
			return c.Data, nil
		}
	}
	return nil, errNoConfig
}

var errNoConfig = errors.New("it holds no configuration of a guest")

func fromTar(r io.Reader) ([]byte, error) {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil, errNoConfig
		}
		if err != nil {
			return nil, err
		}
		if strings.TrimPrefix(path.Clean(h.Name), "/") != containerConfig {
			continue
		}
		if h.Size > mostConfig {
			return nil, fmt.Errorf("%s has %d bytes, more than any configuration", h.Name, h.Size)
		}
		return io.ReadAll(archive)
	}
}
