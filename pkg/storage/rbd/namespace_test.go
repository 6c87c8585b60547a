package rbd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
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
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
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
// made by ceph: pveceph is a later issue. What the script does with krbd needs a kernel with
// rbd: the node's.
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
	if testnode.Inside() {
		testnode.Need(t, "rbd")
		slow(t)
	}
	p := &play{c: testceph.Start(t), disks: map[string]id.Volume{}, sums: map[string]string{}}
	p.world = p.serve(t)
	for _, step := range suite.Common.Setup {
		p.prepare(step)
	}
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if strings.HasSuffix(c.Name, "krbd") && !testnode.Inside() {
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
	for _, clones := range []bool{true, false} { // which go before their bases
		for name, v := range p.disks {
			if strings.HasPrefix(name, linked) == clones {
				p.ok(p.DeactivateVolumes(p.ctx, "", v))
				p.ok(p.Free(p.ctx, v))
			}
		}
	}
}

// linked begins the names of the disks that are linked clones.
const linked = "linked "

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
		if testnode.Inside() {
			lines[0] = "monhost " + p.c.Legacy // as kernels speak
		}
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
			if err := p.Activate(p.ctx, v.Storage); err != nil {
				return err
			}
			if err := p.ActivateVolumes(p.ctx, "", v); err != nil {
				return err
			}
			if _, err := p.Blockdev(p.ctx, v); err != nil {
				return err
			}
		}
		if step[2] == "999999" { // the script keeps a state of the running guest; the next case removes it
			return p.keep()
		}
	case "stop":
		for _, v := range p.disks {
			if err := p.DeactivateVolumes(p.ctx, "", v); err != nil {
				return err
			}
		}
	case "set":
		for i, section := range p.sections {
			if strings.HasPrefix(section, "rbd: "+step[2]+"\n") {
				option := strings.TrimPrefix(step[3], "--") + " "
				p.sections[i] = strings.Replace(section, option+"0", option+step[4], 1)
			}
		}
		if p.disks[linked+"scsi0"].Name == "" {
			return p.keep()
		}
	case "delsnapshot":
		for _, v := range p.disks {
			if err := p.DeleteSnapshot(p.ctx, v, step[3], false); err != nil {
				return err
			}
		}
	case "move_disk":
		to, err := p.copy(p.disks[step[3]], id.Storage(step[4]), 999999)
		if err != nil {
			return err
		}
		from := p.disks[step[3]]
		p.disks[step[3]] = to
		return p.Free(p.ctx, from)
	case "clone":
		return p.clone()
	default:
		return fmt.Errorf("unknown step %q", step)
	}
	return nil
}

// keep makes the snapshots that the script has made by its guest.
func (p *play) keep() error {
	for _, v := range p.disks {
		if err := p.Snapshot(p.ctx, v, "test"); err != nil {
			return err
		}
	}
	return nil
}

func (p *play) copy(from id.Volume, store id.Storage, guest id.VM) (id.Volume, error) {
	return p.Copy(p.ctx, storage.Copy{Source: from.String(), Storage: store, Guest: guest, Format: "raw"})
}

// clone copies the guest, makes the copy a template and links another guest to it.
func (p *play) clone() error {
	for drive, v := range maps.Clone(p.disks) {
		to, err := p.copy(v, v.Storage, 999998)
		if err != nil {
			return err
		}
		base, err := p.CreateBase(p.ctx, to)
		if err != nil {
			return err
		}
		clone, err := p.Clone(p.ctx, base, 999997, "")
		if err != nil {
			return err
		}
		for name, v := range map[string]id.Volume{"base " + drive: base, linked + drive: clone} {
			p.disks[name], p.sums[name] = v, p.sums[drive]
		}
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
