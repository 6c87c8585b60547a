package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Chain puts a type whose snapshots are volumes of their own through what is peculiar to
// those: states that lie on each other are removed in any order, and nothing changes but
// that they are gone. Section has to ask for it. qemu-io writes to the volumes.
func Chain(t *testing.T, o Options) {
	for _, program := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: %v", program, err)
		}
	}
	for _, order := range few(o, [][]string{{"two", "one", "three"}},
		[][]string{{"one", "two", "three"}, {"three", "two", "one"}, {"two", "one", "three"}}) {
		t.Run("Removed "+strings.Join(order, " "), func(t *testing.T) {
			c := newChain(t, o)
			c.three()
			left := []string{"one", "two", "three"}
			c.right("three snapshots", left...)
			for _, snap := range order {
				c.ok(c.DeleteSnapshot(c.ctx, c.v, snap, false))
				left = slices.DeleteFunc(left, func(s string) bool { return s == snap })
				c.right("removal of "+snap, left...)
			}
			c.ok(c.Free(c.ctx, c.v))
			c.empty("a chain")
		})
	}
	t.Run("Rollback", func(t *testing.T) {
		c := newChain(t, o)
		c.three()
		blocked, ok := errors.AsType[*storage.BlockedError](c.CanRollback(c.ctx, c.v, "one"))
		if !ok || !slices.Equal(blocked.Blockers, []string{"two", "three"}) {
			t.Errorf("a rollback over others is blocked by %+v", blocked)
		}
		c.ok(c.CanRollback(c.ctx, c.v, "three"))
		c.ok(c.Rollback(c.ctx, c.v, "three"))
		c.now = slices.Clone(c.kept["three"])
		c.right("a rollback", "one", "two", "three")
		c.put(9, 200<<10, 4096) // it can be written to, and the state is not
		c.right("a write", "one", "two", "three")
		c.ok(c.Free(c.ctx, c.v)) // with all that is left of it
		c.empty("removal with states")
	})
}

// A chain is a volume whose snapshots are volumes, and what should be in it.
type chain struct {
	*world
	v    id.Volume
	now  []byte            // what is in the volume
	kept map[string][]byte // and in its states
}

func newChain(t *testing.T, o Options) *chain {
	t.Helper()
	w := begin(t, o)
	v := w.alloc(100, "qcow2", 2048)
	if p, ok := w.pool.(storage.Chainer); !ok || !p.Chained(v.Name) {
		t.Fatalf("the snapshots of %s are no volumes", v)
	}
	return &chain{world: w, v: v, now: make([]byte, 2<<20), kept: map[string][]byte{}}
}

// put writes a byte over a range of the volume; 0 makes a hole.
func (c *chain) put(value byte, at, size int) {
	c.t.Helper()
	line := fmt.Sprintf("write -P %d %d %d", value, at, size)
	if value == 0 {
		line = fmt.Sprintf("write -z -u %d %d", at, size)
	}
	c.ok(c.ActivateVolumes(c.ctx, "", c.v))
	path, err := c.Path(c.ctx, c.v, "")
	c.ok(err)
	if out, err := exec.CommandContext(c.ctx, "qemu-io", "-f", "qcow2", "-c", line, path).CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v: %s", line, err, out)
	}
	copy(c.now[at:], bytes.Repeat([]byte{value}, size))
}

func (c *chain) snap(name string) {
	c.t.Helper()
	c.ok(c.Snapshot(c.ctx, c.v, name))
	c.kept[name] = slices.Clone(c.now)
}

// three makes the states one, two and three, with data over each other, holes and growth
// between.
func (c *chain) three() {
	c.t.Helper()
	c.put(1, 0, 700<<10)
	c.snap("one")
	c.put(2, 64<<10, 128<<10)
	c.put(0, 300<<10, 200<<10)
	c.ok(c.Resize(c.ctx, c.v, 3<<20, false))
	c.now = append(c.now, make([]byte, 1<<20)...)
	c.put(2, 3<<20-1024, 1024)
	c.snap("two")
	c.put(3, 100<<10+512, 1536)
	c.snap("three")
	c.put(4, 1000, 24)
}

// right fails unless all is as it should be, with these states and no others.
func (c *chain) right(after string, states ...string) {
	c.t.Helper()
	if !bytes.Equal(c.content(c.v, ""), c.now) {
		c.t.Errorf("after %s: the volume is not what was written", after)
	}
	list, err := c.Snapshots(c.ctx, c.v)
	c.ok(err)
	var got []string
	for _, s := range list {
		got = append(got, s.Name)
		if !bytes.Equal(c.content(c.v, s.Name), c.kept[s.Name]) {
			c.t.Errorf("after %s: state %s is not what was written", after, s.Name)
		}
	}
	if !slices.Equal(got, states) {
		c.t.Errorf("after %s: the states are %q, want %q", after, got, states)
	}
	maps.DeleteFunc(c.kept, func(snap string, _ []byte) bool { return !slices.Contains(states, snap) })
	links, err := c.pool.(storage.Chainer).Chain(c.ctx, c.v.Name)
	c.ok(err)
	if len(links) != len(states)+1 {
		c.t.Errorf("after %s: the chain is %+v", after, links)
	}
	if all := c.all(); len(all) != 1 || all[0] != c.v.Name {
		c.t.Errorf("after %s: listed %q", after, all)
	}
}
