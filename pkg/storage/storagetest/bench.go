package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Bench is a storage of one type to time, and the bare tools to time it beside. What is
// nil or zero is not timed.
type Bench struct {
	Types   []storage.Type
	Config  string            // storage.cfg, with an empty storage called it
	Secrets map[string]string // of that storage
	Runner  run.Runner        // nil for the host's
	Format  string            // of volumes; empty for the default

	// Alloc is making a small volume.
	Alloc []Beside
	// Clone is making a linked clone of a base.
	Clone func(base id.Volume) []Beside
	// Unlinked says that clones do not tell of their base.
	Unlinked bool
	// Wipe removes clones quicker than one by one. It may be nil.
	Wipe func(b *testing.B, clones []id.Volume)
	// Copies are of a file, or of what CopyFrom says, to volumes of these formats.
	Copies   []string
	Copy     func(source, format string) []Beside
	CopyFrom func(b *testing.B, source string) id.Volume // puts a file where it is copied from
	CopyTo   id.Storage                                  // the storage it; another for types that only have what is there
	CopySize int64                                       // 128 MiB

	// Fill makes volumes number from to to, counted from 0, for lists of Lists volumes
	// altogether.
	Fill    func(b *testing.B, from, to int)
	Lists   []int
	List    []Beside
	Content storage.Content // of what is listed; empty for images
}

// A Beside is a bare tool that does the same.
type Beside struct {
	Name string // with _ for spaces
	Do   func(ctx context.Context) error
	Undo func(ctx context.Context) error // not timed; may be nil

	times int // what it took is told as so many times as much; 0 is once
}

// Tool is a Beside that runs a program, and one that undoes what it did.
func Tool(name string, argv []string, undo ...string) Beside {
	do := func(argv []string) func(context.Context) error {
		return func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			c := exec.CommandContext(ctx, argv[0], argv[1:]...)
			c.WaitDelay = time.Second
			if out, err := c.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out[:min(len(out), 400)])
			}
			return nil
		}
	}
	t := Beside{Name: name, Do: do(argv)}
	if len(undo) > 0 {
		t.Undo = do(undo)
	}
	return t
}

// A stand is a service with the storage that is timed.
type stand struct {
	*storage.Service
	o   Bench
	ctx context.Context //nolint:containedctx // that of the benchmark
}

// Run times everything there is, in rows alloc, clone, clones/100, copy/… and list/….
// Figures are medians, of ours ("ms") and of what is beside it ("ms/NAME"), which take
// turns.
func (o Bench) Run(b *testing.B) {
	s := o.stand(b)
	if o.Alloc != nil {
		b.Run("alloc", s.alloc)
	}
	if o.Clone != nil {
		base, content := s.base(b)
		b.Run("clone", func(b *testing.B) { s.clone(b, base) })
		b.Run("clones/100", func(b *testing.B) { s.clones(b, base, content) })
		_ = s.Free(s.ctx, base) // which what a tool has cloned may need
	}
	for _, format := range o.Copies {
		for _, full := range []bool{true, false} {
			b.Run("copy/"+format+map[bool]string{true: "-full", false: "-holes"}[full], func(b *testing.B) { s.copy(b, format, full) })
		}
	}
	have, before := 0, -1
	for _, n := range o.Lists {
		b.Run(fmt.Sprintf("list/%d", n), func(b *testing.B) {
			if before < 0 {
				before = s.count(b)
			}
			o.Fill(b, have, n)
			have = n
			s.list(b, n+before)
		})
	}
}

func (o Bench) stand(b *testing.B) *stand {
	b.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		b.Skip(err)
	}
	if o.Runner == nil {
		o.Runner = run.Host{}
	}
	if o.CopyTo == "" {
		o.CopyTo = it
	}
	if o.CopySize == 0 {
		o.CopySize = 128 << 20
	}
	if o.Content == "" {
		o.Content = storage.Images
	}
	root := b.TempDir()
	s := storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: o.Runner, Types: o.Types, QEMUImg: "qemu-img", Zone: time.UTC,
		Config:  func(context.Context) (string, error) { return o.Config, nil },
		Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
		Lock: func(ctx context.Context, name string, fn func(context.Context) error) error {
			return file.WithLock(ctx, filepath.Join(root, name), file.LockOptions{Patience: 2 * time.Minute}, fn)
		},
	})
	ctx := api.WithStreams(b.Context(), api.Streams{Out: io.Discard, Err: io.Discard})
	p, err := s.Pool(ctx, it)
	check(b, err)
	if c, ok := p.(storage.Configurer); ok {
		check(b, c.Added(ctx, o.Secrets))
		b.Cleanup(func() { _ = c.Removed(context.WithoutCancel(ctx)) })
	}
	check(b, s.Activate(ctx, it))
	return &stand{s, o, ctx}
}

func (s *stand) alloc(b *testing.B) {
	var made id.Volume
	s.turns(b, 5, Beside{Do: func(ctx context.Context) (err error) {
		made, err = s.Alloc(ctx, it, storage.Alloc{Guest: 100, Format: s.o.Format, Size: 1 << 12})
		return err
	}, Undo: func(ctx context.Context) error { return s.Free(ctx, made) }}, s.o.Alloc...)
}

// base makes a base for clones, with the content of a file where it is an image.
func (s *stand) base(b *testing.B) (base id.Volume, content string) {
	b.Helper()
	v, err := s.Alloc(s.ctx, it, storage.Alloc{Guest: 9000, Format: s.o.Format, Size: 4 << 10})
	check(b, err)
	if s.o.Format != "subvol" {
		content = Patches(b, 4<<20, false)
		check(b, s.Convert(s.ctx, content, v.String(), storage.ConvertOptions{}))
	}
	base, err = s.CreateBase(s.ctx, v)
	check(b, err)
	return base, content
}

func (s *stand) clone(b *testing.B, base id.Volume) {
	var made id.Volume
	s.turns(b, 5, Beside{
		Do: func(ctx context.Context) (err error) {
			made, err = s.Clone(ctx, base, 100, "")
			return err
		},
		Undo: func(ctx context.Context) error { return s.Free(ctx, made) },
	}, s.o.Clone(base)...)
}

// clones makes a hundred at once, beside a fifth of as many one after the other.
func (s *stand) clones(b *testing.B, base id.Volume, content string) {
	const atOnce, few = 100, 20
	all := func(many, atOnce int) Beside {
		var made []id.Volume
		return Beside{
			Name:  "one_by_one_(20_x_5)",
			times: 100 / many,
			Do: func(ctx context.Context) error {
				made = make([]id.Volume, many)
				errs := make([]error, many)
				left := make(chan int, many)
				for i := range many {
					left <- i
				}
				close(left)
				var wg sync.WaitGroup
				for range atOnce {
					wg.Go(func() {
						for i := range left {
							made[i], errs[i] = s.Clone(ctx, base, id.VM(100+i), "")
						}
					})
				}
				wg.Wait()
				return errors.Join(errs...)
			},
			Undo: func(ctx context.Context) error {
				s.right(b, base, made, content)
				if s.o.Wipe != nil {
					s.o.Wipe(b, made)
					return nil
				}
				for _, v := range made {
					if err := s.Free(ctx, v); err != nil {
						return err
					}
				}
				return nil
			},
		}
	}
	s.turns(b, 1, all(atOnce, atOnce), all(few, 1))
}

// right fails unless clones are there, once each and of their base, with its content.
func (s *stand) right(b *testing.B, base id.Volume, clones []id.Volume, content string) {
	b.Helper()
	list, err := s.List(s.ctx, it, storage.Filter{Content: []storage.Content{s.o.Content}})
	check(b, err)
	there := map[string]storage.Volume{}
	for _, v := range list {
		there[v.Name] = v
	}
	seen := map[id.Volume]bool{}
	for i, v := range clones {
		got, ok := there[v.Name]
		if !ok || seen[v] || !s.o.Unlinked && !strings.Contains(v.Name+got.Parent, path.Base(base.Name)) {
			b.Fatalf("clone %s: listed as %+v, made twice: %v", v, got, seen[v])
		}
		seen[v] = true
		if content != "" && i%10 == 0 { // each costs a process
			s.same(b, v, content)
		}
	}
}

// copy copies data without or with holes, and looks whether all of it has arrived.
func (s *stand) copy(b *testing.B, format string, full bool) {
	source := Patches(b, s.o.CopySize, full)
	from := source
	if s.o.CopyFrom != nil {
		from = s.o.CopyFrom(b, source).String()
	}
	var made id.Volume
	looked := false
	median := s.turns(b, 3, Beside{
		Do: func(ctx context.Context) (err error) {
			made, err = s.Copy(ctx, storage.Copy{Source: from, Storage: s.o.CopyTo, Guest: 100, Format: format})
			return err
		},
		Undo: func(ctx context.Context) error {
			if !looked {
				looked = true
				s.same(b, made, source)
			}
			return s.Free(ctx, made)
		},
	}, s.o.Copy(source, format)...)
	b.ReportMetric(float64(s.o.CopySize)/1e6/median.Seconds(), "MB/s")
}

func (s *stand) same(b *testing.B, v id.Volume, source string) {
	b.Helper()
	check(b, s.ActivateVolumes(s.ctx, "", v))
	img, err := s.Image(s.ctx, v.String(), "", false)
	check(b, err)
	args := []string{"compare", "-f", "raw", "-F", img.Format, source, img.Path}
	if img.Options {
		args = []string{"compare", "--image-opts", "driver=raw,file.driver=file,file.filename=" + source, img.Path}
	}
	if out, err := exec.CommandContext(s.ctx, "qemu-img", args...).CombinedOutput(); err != nil {
		b.Fatalf("the copy is not equal: %v: %s", err, out)
	}
}

// count is how many volumes there are.
func (s *stand) count(b *testing.B) int {
	b.Helper()
	list, err := s.List(s.ctx, it, storage.Filter{Content: []storage.Content{s.o.Content}})
	check(b, err)
	return len(list)
}

func (s *stand) list(b *testing.B, n int) {
	s.turns(b, 3, Beside{Do: func(ctx context.Context) error {
		list, err := s.List(ctx, it, storage.Filter{Content: []storage.Content{s.o.Content}})
		if err == nil && len(list) != n {
			err = fmt.Errorf("listed %d of %d volumes", len(list), n)
		}
		return err
	}}, s.o.List...)
}

// enough is after which time no further round begins.
const enough = 8 * time.Second

// turns times ours and others in turns, so many rounds for each of the benchmark's, and
// returns the median of ours.
func (s *stand) turns(b *testing.B, rounds int, ours Beside, others ...Beside) time.Duration {
	b.Helper()
	all := append([]Beside{ours}, others...)
	took := make([][]time.Duration, len(all))
	for b.Loop() {
		begun := time.Now()
		for round := range rounds {
			if round > 0 && time.Since(begun) > enough {
				break
			}
			for i, one := range all {
				begun := time.Now()
				check(b, one.Do(s.ctx))
				took[i] = append(took[i], time.Since(begun)*time.Duration(max(one.times, 1)))
				if one.Undo != nil {
					check(b, one.Undo(s.ctx))
				}
			}
		}
	}
	b.ReportMetric(0, "ns/op") // of all: means nothing
	for i, one := range all {
		slices.Sort(took[i])
		unit := "ms"
		if i > 0 {
			unit += "/" + one.Name
		}
		b.ReportMetric(took[i][len(took[i])/2].Seconds()*1000, unit)
	}
	return took[0][len(took[0])/2]
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// Patches makes a file of random data, or one with a MiB of data in every four.
func Patches(b *testing.B, size int64, full bool) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "source.raw")
	f, err := os.Create(name)
	check(b, err)
	defer f.Close() //nolint:errcheck // Truncate and WriteAt have said what there is to say
	check(b, f.Truncate(size))
	data := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	for at := int64(0); at < size; at += int64(len(data)) {
		if !full && at>>20%4 != 0 {
			continue
		}
		_, _ = random.Read(data)
		_, err := f.WriteAt(data, at)
		check(b, err)
	}
	return name
}

// FolderCopies are copies to a folder with qemu-img and cp.
func FolderCopies(folder string) func(source, format string) []Beside {
	return func(source, format string) []Beside {
		to := filepath.Join(folder, "beside")
		return []Beside{
			Tool("qemu-img_convert", []string{"qemu-img", "convert", "-f", "raw", "-O", format, source, to}, "rm", to),
			Tool("cp", []string{"cp", "--reflink=never", source, to}, "rm", to),
		}
	}
}
