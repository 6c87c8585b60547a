package rbd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A play goes through a script of commands with what a storage does for each of them.
type play struct {
	*world
	c        *testceph.Cluster
	sections []string
	disks    map[string]id.Volume // by the name of the drive
	sums     map[string]string    // what is on them
}

// TestConformanceRBDNamespace plays upstream's script for namespaces on a cluster, as far
// as it is about the storage. The guests themselves start in the tests of qm. Pools are
// made by ceph: pveceph is a later issue. What the script does with krbd is skipped where
// it would need a kernel with rbd; see TestKernelNode.
func TestConformanceRBDNamespace(t *testing.T) {
	var suite struct {
		Common struct{ Setup [][]string }
		Cases  []struct {
			Name  string
			Input struct{ Steps [][]string }
		}
	}
	conformance.Load(t, "cluster/storage-rbd-namespace", &suite)
	needDriver(t)
	p := &play{c: testceph.Start(t), disks: map[string]id.Volume{}, sums: map[string]string{}}
	p.world = p.serve(t)
	for _, step := range suite.Common.Setup {
		p.prepare(step)
	}
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if strings.Contains(c.Name, "krbd") {
				t.Skip("the kernel maps images in the node VM alone")
			}
			for _, step := range c.Input.Steps {
				if err := p.step(step); err != nil {
					t.Fatalf("%s: %v\n%s", strings.Join(step, " "), err, p.said)
				}
				p.check(t)
			}
		})
	}
	for _, v := range p.disks {
		p.ok(p.Free(p.ctx, v))
	}
}

// serve returns a service whose storages are those that were added so far.
func (p *play) serve(t *testing.T) *world {
	root := t.TempDir()
	s := storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: []storage.Type{Type()}, QEMUImg: "qemu-img", Zone: time.UTC,
		Config:  func(context.Context) (string, error) { return strings.Join(p.sections, "\n"), nil },
		Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
		Lock: func(ctx context.Context, name string, fn func(context.Context) error) error {
			return file.WithLock(ctx, filepath.Join(root, name), file.LockOptions{Patience: time.Minute}, fn)
		},
	})
	w := &world{Service: s, t: t, said: &bytes.Buffer{}, root: root}
	w.ctx = api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: w.said})
	return w
}

// prepare does what the script begins with.
func (p *play) prepare(step []string) {
	switch step[0] {
	case "ceph":
		p.c.Ceph(step[1:]...)
	case "rbd":
		p.c.RBD(step[1:]...)
	case "pveceph":
		p.c.Ceph("osd", "pool", "create", step[3], "8")
		p.c.Ceph("osd", "pool", "application", "enable", step[3], "rbd")
	case "pvesm":
		storeid, lines := step[3], p.c.Section()
		for i := 4; i+1 < len(step); i += 2 {
			lines = append(lines, strings.TrimPrefix(step[i], "--")+" "+step[i+1])
		}
		p.sections = append(p.sections, "rbd: "+storeid+"\n\t"+strings.Join(lines, "\n\t")+"\n")
		pool, err := p.Pool(p.ctx, id.Storage(storeid))
		p.ok(err)
		p.ok(pool.(storage.Configurer).Added(p.ctx, map[string]string{"keyring": p.c.Secret()}))
	case "qm":
		for i := 3; i+1 < len(step); i += 2 {
			if store, _, ok := strings.Cut(step[i+1], ":"); ok {
				p.make(strings.TrimPrefix(step[i], "--"), id.Storage(store))
			}
		}
	}
}

// make allocates a disk with something on it; the size is no matter.
func (p *play) make(drive string, store id.Storage) {
	data := append([]byte{0, 0, 0x10, 0, 0, 0, 0, 0}, bytes.Repeat([]byte(drive+"\n\t "), 1<<20)[:1<<20]...)
	v, err := p.Import(p.ctx, bytes.NewReader(data), id.Volume{Storage: store, Name: fmt.Sprintf("vm-999999-disk-%d", len(p.disks))}, storage.Stream{Format: "raw+size"}, false)
	p.ok(err)
	p.disks[drive] = v
	p.sums[drive], err = p.sum(v)
	p.ok(err)
}

func (p *play) sum(v id.Volume) (string, error) {
	h := sha256.New()
	err := p.Export(p.ctx, h, v, storage.Stream{Format: "raw+size"})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// step does the storage's part of a command of the script.
func (p *play) step(step []string) error {
	switch step[1] {
	case "start":
		for _, v := range p.disks {
			if _, err := p.Blockdev(p.ctx, v); err != nil {
				return err
			}
			// The script keeps a state of the running guest; the next case removes it.
			if err := p.Snapshot(p.ctx, v, "test"); err != nil {
				return err
			}
		}
	case "delsnapshot":
		for _, v := range p.disks {
			if err := p.DeleteSnapshot(p.ctx, v, step[3], false); err != nil {
				return err
			}
		}
	case "move_disk":
		from := p.disks[step[3]]
		to, err := p.Copy(p.ctx, storage.Copy{Source: from.String(), Storage: id.Storage(step[4]), Guest: 999999, Format: "raw"})
		if err != nil {
			return err
		}
		p.disks[step[3]] = to
		return p.Free(p.ctx, from)
	default:
		return fmt.Errorf("unknown step %q", step)
	}
	return nil
}

// check fails unless every disk is where it belongs, is whole, and is seen nowhere else.
func (p *play) check(t *testing.T) {
	t.Helper()
	var want []string
	for drive, v := range p.disks {
		want = append(want, v.String())
		if sum, err := p.sum(v); err != nil || sum != p.sums[drive] {
			t.Errorf("%s on %s is not what it was: %v", drive, v, err)
		}
		path, err := p.Path(p.ctx, v, "")
		if in := strings.Contains(path, "/testspace/"); err != nil || in != (v.Storage == "testpool-testspace") {
			t.Errorf("%s is at %s: %v", v, path, err)
		}
	}
	var got []string
	for _, store := range []id.Storage{"testpool", "testpool-testspace"} {
		all, err := p.List(p.ctx, store, storage.Filter{})
		if err != nil {
			t.Error(err)
		}
		for _, one := range all {
			got = append(got, string(store)+":"+one.Name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("there is %v, not %v", got, want)
	}
}
