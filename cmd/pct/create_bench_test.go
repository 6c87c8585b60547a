package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/cmd/internal/stopwatch"
	"github.com/virtsmith/virtsmith/pkg/lxc/lxctest"
)

// BenchmarkCreate creates a container from a template of 100 MiB, and in turns unpacks the same
// archive with tar and zstd into the same file system. The metrics are medians.
func BenchmarkCreate(b *testing.B) {
	lxctest.Require(b)
	root, id := lxctest.Root(b), strconv.Itoa(lxctest.ID(b))
	pct := stopwatch.BuildLinked(b, root, ".")
	archive := filepath.Join(root, "var/lib/vz/template/cache/alpine-3.99-large_1_amd64.tar.zst")
	large(b, archive)
	packed, err := os.Stat(archive)
	if err != nil {
		b.Fatal(err)
	}
	ours := func(args ...string) stopwatch.Process {
		return stopwatch.Process{Path: pct, Args: args, Env: environment(root)}
	}
	plain := filepath.Join(root, "var/lib/vz/images/plain")
	create := ours("create", id, "local:vztmpl/"+filepath.Base(archive), "--rootfs", "local:0", "--unprivileged", "1", "--memory", "64")
	bare := stopwatch.Process{Path: find(b, "tar"), Args: []string{"--zstd", "--numeric-owner", "-xpf", archive, "-C", plain}, Env: os.Environ()}
	var created, unpacked []time.Duration
	for b.Loop() {
		took, _ := create.Time(b)
		created = append(created, took)
		ours("destroy", id).Time(b)
		if err := os.MkdirAll(plain, 0o755); err != nil {
			b.Fatal(err)
		}
		took, _ = bare.Time(b)
		unpacked = append(unpacked, took)
		if err := os.RemoveAll(plain); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op") // of both: means nothing
	b.ReportMetric(stopwatch.Median(created), "ms")
	b.ReportMetric(stopwatch.Median(unpacked), "ms/tar")
	b.ReportMetric(stopwatch.Median(created)/stopwatch.Median(unpacked), "x-tar")
	b.ReportMetric(float64(packed.Size())/(1<<20), "MiB-packed")
}

// large makes a template of busybox with 100 MiB of files more: mostly small ones, a few large, in
// a thousand folders, half of them text and half programs, as far as compressing goes.
func large(b *testing.B, to string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(find(b, "zstd"), "-q", "-3", "-o", to)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	out := tar.NewWriter(in)
	err = errors.Join(copyMembers(out, lxctest.Busybox(b)), fill(out, 100<<20), out.Close(), in.Close())
	if err := errors.Join(err, cmd.Wait()); err != nil {
		b.Fatal(err)
	}
}

// copyMembers copies the members of an archive.
func copyMembers(to *tar.Writer, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for from := tar.NewReader(z); ; {
		h, err := from.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = to.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(to, from)
		}
		if err != nil {
			return err
		}
	}
}

// fill adds files of so many bytes in all, the same ones each time.
func fill(to *tar.Writer, size int) error {
	random := rand.New(rand.NewPCG(4, 4))
	text, program := bytes.Buffer{}, make([]byte, 8<<20)
	for text.Len() < len(program) {
		fmt.Fprintf(&text, "%d the container %d has of it %x\n", random.IntN(1000), random.IntN(20), random.IntN(1<<16))
	}
	for i := range program { // half as random as can be
		program[i] = byte(random.IntN(16) * random.IntN(16))
	}
	for n := 0; size > 0; n++ {
		if n%4 == 0 {
			h := &tar.Header{Name: fmt.Sprintf("./usr/d%d/", n/4), Typeflag: tar.TypeDir, Mode: 0o755}
			if err := to.WriteHeader(h); err != nil {
				return err
			}
		}
		source := text.Bytes()
		if n%2 == 1 {
			source = program
		}
		length := min(size, 512<<random.IntN(9)+random.IntN(4096))
		if n%200 == 0 {
			length = min(size, 4<<20)
		}
		from := random.IntN(len(source) - length)
		h := &tar.Header{Name: fmt.Sprintf("./usr/d%d/f%d", n/4, n), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(length)}
		if err := to.WriteHeader(h); err != nil {
			return err
		}
		if _, err := to.Write(source[from : from+length]); err != nil {
			return err
		}
		size -= length
	}
	return nil
}
