// Package unpack puts an archive into the root of a container: a template or a backup
// (tar, compressed or not), or the layers of an OCI image. Nothing that an archive holds
// reaches beyond that root, or gains a right outside of the container.
//
// Archives are read here and not by the tar program. That one guards against links that
// lead out by looking at paths before it uses them, for one archive at a time and an empty
// folder; the layers of an image come one over the other, and a later one may write through
// a link of an earlier one. Nor can it be shut into the root it fills, since it is not in
// there. So the work is done by one thread that has the root of the container as its root
// folder, no way to change that again, and of root's capabilities only those that files
// take: whatever a name or a link says, the kernel finds it inside. What that thread makes
// belongs to root of the container from the first moment, and owners, ACLs and capabilities
// of files are translated by the map of the container; what the map lacks is refused. No
// code but ours runs: gzip, zstd and bzip2 are decompressed in this process, xz and lzop
// by their programs, which see only a pipe.
//
// It is no slower for that: the thread makes the calls that tar would make, while others
// read and decompress ahead.
package unpack

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Options say how an archive is unpacked.
type Options struct {
	// IDs is the map of the container; an empty one means that it is privileged.
	IDs idmap.Map
	// Limit is the most that is read of the archive, in KiB a second; 0 for no limit.
	Limit int
	// IgnoreErrors has what cannot be unpacked told as warnings.
	IgnoreErrors bool
	// Progress is told how many bytes of the archive were read, by one goroutine at a time,
	// and not any more after the end; nil tells nobody.
	Progress func(done int64)
	// Arch is the architecture, in PVE's words, that an image is wanted for; empty takes the
	// first one there is.
	Arch string
	// Runner runs xz and lzop.
	Runner run.Runner
	// Now is the clock; nil means that of the machine.
	Now func() time.Time
}

func (o Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Result tells what came of it.
type Result struct {
	Members int   // of the archive, with those left out
	Bytes   int64 // of the archive, decompressed
	LeftOut int   // device nodes that an unprivileged container cannot have
	Failed  int   // members that failed, with IgnoreErrors
}

// Template unpacks a tar archive into the folder root, where the volumes of the container
// are mounted. What is below dev/ stays out: the container gets its own.
func Template(ctx context.Context, s *Source, root string, o Options) (Result, error) {
	if s.Name == Stdin {
		api.Printf(ctx, "extracting archive from STDIN\n")
	} else {
		api.Printf(ctx, "extracting archive '%s'\n", s.Name)
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("unpack %s into %s", s.Name, root)
		return Result{}, nil
	}
	start := o.now()
	w := &writer{ctx: ctx, ids: o.IDs, ignore: o.IgnoreErrors}
	err := func() error {
		in, err := s.open(ctx, o)
		if err != nil {
			return err
		}
		defer in.Close()
		return confined(root, o.IDs, func() error { return w.archive(in) })
	}()
	if err != nil {
		return w.result, s.failure(ctx, err)
	}
	w.summary()
	tellTotal(ctx, w.result.Bytes, o.now().Sub(start))
	return w.result, nil
}

// tellTotal says how much was read, in the words tar has for it.
func tellTotal(ctx context.Context, n int64, took time.Duration) {
	rate := int64(float64(n) / max(took.Seconds(), 0.001))
	api.Printf(ctx, "Total bytes read: %d (%s, %s/s)\n", n, human(n), human(rate))
}

func human(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	if v < 10 && i > 0 {
		return fmt.Sprintf("%.1f%s", v, units[i])
	}
	return fmt.Sprintf("%.0f%s", v, units[i])
}

// errDamaged marks what is wrong with an archive itself.
var errDamaged = errors.New("the archive is damaged or incomplete")

// errEarly is the error of an archive that has no end, as a broken download leaves it.
var errEarly = fmt.Errorf("%w: it ends early", errDamaged)

// failure names the archive, and says what an error means.
func (s *Source) failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("archive '%s': %w", s.Name, context.Cause(ctx))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("archive '%s' does not fit: %w", s.Name, err)
	}
	return fmt.Errorf("archive '%s': %w", s.Name, err)
}

// archNames are the architectures as containers and as images call them.
func archNames() [][2]string {
	return [][2]string{{"amd64", "amd64"}, {"i386", "386"}, {"arm64", "arm64"}, {"armhf", "arm"}, {"riscv64", "riscv64"}, {"riscv32", "riscv32"}}
}
