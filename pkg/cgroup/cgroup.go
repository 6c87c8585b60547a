// Package cgroup puts processes into control groups of their own, limits them there
// and reads what they use: with version 2, with version 1, and with the mixture of
// both that systemd calls hybrid.
//
// It writes the files of the kernel itself, so it is for machines where no systemd
// owns the tree; where one does, package systemd asks for a scope, and this one only
// reads. Groups are made below the one this process is in: whoever confined us has
// confined our guests too.
package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// ErrNone is the error of a machine that has no control groups where we look.
var ErrNone = errors.New("no control groups on this machine")

// A Tree is the control groups of a machine.
type Tree struct {
	proc    string
	unified bool // version 2 alone
	parts   []hierarchy
}

// hierarchy is one mounted tree of groups: the only one of version 2, or that of a
// controller of version 1.
type hierarchy struct {
	name string // the controller; empty for version 2
	dir  string
	own  string // the group of this process in it
}

// Open looks at the control groups mounted at mount, /sys/fs/cgroup on a real
// machine. proc is where the process files are, /proc.
func Open(mount, proc string) (*Tree, error) {
	t := &Tree{proc: proc}
	if exists(filepath.Join(mount, "cgroup.controllers")) {
		t.unified = true
		t.parts = []hierarchy{{dir: mount}}
	} else {
		for _, name := range []string{"cpu", "cpuacct", "memory", "blkio"} {
			t.add(hierarchy{name: name, dir: filepath.Join(mount, name)})
		}
		t.add(hierarchy{dir: filepath.Join(mount, "unified")})
	}
	if len(t.parts) == 0 {
		return nil, fmt.Errorf("%s: %w", mount, ErrNone)
	}
	own, err := t.paths("self")
	if err != nil {
		return nil, err
	}
	for i := range t.parts {
		t.parts[i].own = own[t.parts[i].name]
	}
	return t, nil
}

// add takes a hierarchy that is mounted, once: cpu and cpuacct may be links to the
// same one.
func (t *Tree) add(h hierarchy) {
	if dir, err := filepath.EvalSymlinks(h.dir); err == nil {
		h.dir = dir
	}
	if exists(filepath.Join(h.dir, "cgroup.procs")) {
		t.parts = append(t.parts, h)
	}
}

// Unified tells whether the machine has version 2 alone.
func (t *Tree) Unified() bool { return t.unified }

// paths reads the groups of a process, by controller.
func (t *Tree) paths(process string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(t.proc, process, "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("control groups of process %s: %w", process, err)
	}
	paths := map[string]string{}
	for line := range strings.Lines(string(text)) {
		// 4:cpu,cpuacct:/some/group
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for name := range strings.SplitSeq(parts[1], ",") {
			paths[name] = parts[2]
		}
	}
	return paths, nil
}

// A Group is one control group, in all hierarchies it is in.
type Group struct {
	tree *Tree
	name string
	dirs []string // beside the tree's parts; empty where it is not in one
	tops []string // below which Create makes folders
}

// Group names the group of the given path, such as qemu.slice/100.scope, below that of
// this process. It need not exist.
func (t *Tree) Group(path string) *Group {
	g := &Group{tree: t, name: path}
	for _, h := range t.parts {
		top := filepath.Join(h.dir, h.own)
		g.tops = append(g.tops, top)
		g.dirs = append(g.dirs, filepath.Join(top, path))
	}
	return g
}

// At returns the group of the given path whose folders Dirs has told, which another
// process may have made below its own group.
func (t *Tree) At(path string, dirs []string) *Group {
	g := &Group{tree: t, name: path, dirs: dirs}
	for _, dir := range dirs {
		g.tops = append(g.tops, strings.TrimSuffix(dir, "/"+path))
	}
	return g
}

// Of returns the group that a process is in, whoever made it.
func (t *Tree) Of(pid int) (*Group, error) {
	paths, err := t.paths(strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	g := &Group{tree: t, name: fmt.Sprintf("of process %d", pid)}
	for _, h := range t.parts {
		dir := ""
		if path, ok := paths[h.name]; ok {
			dir = filepath.Join(h.dir, path)
		}
		g.dirs = append(g.dirs, dir)
	}
	return g, nil
}

// Dirs returns the folders whose cgroup.procs a process must join.
func (g *Group) Dirs() []string {
	return slices.DeleteFunc(slices.Clone(g.dirs), func(dir string) bool { return dir == "" })
}

// dir returns the folder for a controller of version 1, or for version 2 where name is
// empty or the tree has no other.
func (g *Group) dir(name string) (string, bool) {
	for i, h := range g.tree.parts {
		if (h.name == name || g.tree.unified) && g.dirs[i] != "" {
			return g.dirs[i], true
		}
	}
	return "", false
}

// Create makes the group, its parents and what they need to hand controllers down. A
// group that exists is fine.
func (g *Group) Create(ctx context.Context) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("make control group %s", g.name)
		return nil
	}
	var faults []error
	for i, h := range g.tree.parts {
		if err := g.create(h, g.tops[i]); err != nil {
			faults = append(faults, err)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("make control group %s: %w", g.name, err)
	}
	return nil
}

func (g *Group) create(h hierarchy, dir string) error {
	for name := range strings.SplitSeq(g.name, "/") {
		if h.name == "" {
			enable(dir)
		}
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// enable hands the controllers that dir has down to its children. Each is asked for
// alone, as one that refuses must not keep the others away; what is missing in the
// end shows where it is written to.
func enable(dir string) {
	has, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, name := range []string{"cpu", "memory", "io", "pids"} {
		if slices.Contains(strings.Fields(string(has)), name) {
			_ = write(filepath.Join(dir, "cgroup.subtree_control"), "+"+name)
		}
	}
}

// Join moves a process, with all its threads, into the groups with the given folders.
func Join(ctx context.Context, dirs []string, pid int) error {
	if p := plan.From(ctx); p != nil {
		return nil // there is no process
	}
	var faults []error
	for _, dir := range dirs {
		faults = append(faults, write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("move process %d into its control group: %w", pid, err)
	}
	return nil
}

// Procs lists the processes in the group.
func (g *Group) Procs() ([]int, error) {
	dirs := g.Dirs()
	if len(dirs) == 0 {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(dirs[0], "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for word := range bytes.FieldsSeq(text) {
		if pid, err := strconv.Atoi(string(word)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// removePatience is how long a group may stay busy with processes that are gone
// already: the kernel lets go of them a moment later.
const removePatience = 2 * time.Second

// Remove removes the group and its parents up to the first that is not empty. One that
// is not there is fine; one with processes in it is an error.
func (g *Group) Remove(ctx context.Context) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("remove control group %s", g.name)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, removePatience)
	defer cancel()
	var faults []error
	for i, dir := range g.dirs {
		if dir == "" {
			continue
		}
		if err := removeBusy(ctx, dir); err != nil {
			faults = append(faults, err)
			continue
		}
		if g.tops != nil {
			removeParents(filepath.Dir(dir), g.tops[i])
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("remove control group %s: %w", g.name, err)
	}
	return nil
}

func removeBusy(ctx context.Context, dir string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Rmdir(dir)
		switch {
		case err == nil || errors.Is(err, syscall.ENOENT):
			return nil
		case !errors.Is(err, syscall.EBUSY):
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		select {
		case <-ctx.Done():
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		case <-tick.C:
		}
	}
}

// removeParents removes what is empty from dir upwards, top excluded. Others use these
// folders too, so that one is still in use is no fault.
func removeParents(dir, top string) {
	for ; dir != top && strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
		if syscall.Rmdir(dir) != nil {
			return
		}
	}
}

// write writes to a file of the kernel, which must exist.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
