package hotplug

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// limits are the files of the control group that limits a container. LXC itself sets those
// of the group below, in which the container lives: they count for nothing where they allow
// more.
type limits interface {
	Read(file string) (string, error)
	Write(file, value string) error
}

// groups are the control groups of a container that runs, see [limits].
type groups struct {
	root    string // where groups are mounted
	paths   string // those of the container's init, as /proc has them
	name    string // the container
	unified bool
}

// groupsOf finds the groups of a container by its init.
func groupsOf(init int, name string, unified bool) (groups, error) {
	paths, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", init))
	return groups{root: "/sys/fs/cgroup", paths: string(paths), name: name, unified: unified}, err
}

// dir is the folder of the group for a controller. The init may be anywhere below it.
func (g groups) dir(controller string) (string, error) {
	for line := range strings.Lines(g.paths) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		names := strings.Split(parts[1], ",")
		if g.unified && parts[1] != "" || !g.unified && !slices.Contains(names, controller) {
			continue
		}
		group := "/" + lxc.PayloadGroup(g.name)
		above, _, found := strings.Cut(parts[2]+"/", group+"/")
		if !found {
			break
		}
		if g.unified {
			controller = ""
		}
		return filepath.Join(g.root, controller, above, group), nil
	}
	return "", fmt.Errorf("container %s has no control group of its own for %s", g.name, controller)
}

// file is where a file such as memory.max is.
func (g groups) file(name string) (string, error) {
	controller, _, _ := strings.Cut(name, ".")
	dir, err := g.dir(controller)
	return filepath.Join(dir, name), err
}

// Read reads a file, less the line end.
func (g groups) Read(name string) (string, error) {
	path, err := g.file(name)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// Write writes a file, which must be there.
func (g groups) Write(name, value string) error {
	path, err := g.file(name)
	if err != nil {
		return err
	}
	return writeFile(path, value)
}

// writeFile writes a file of the kernel, which must be there.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer f.Close() // what the kernel makes of it, the write tells
	_, err = f.WriteString(text)
	return err
}

// inner is the group below the one that limits, in which the container lives.
const inner = "ns"

// allow lets the container use a device, or no longer. With version 1, a group has what
// the one above has only when it is told so itself.
func (m *machine) allow(ctx context.Context, file, rule string) error {
	if m.kernel.Kernel.Unified {
		return m.LXC.SetCgroup(ctx, m.name(), file, rule) // it is a program that LXC keeps
	}
	dir, err := m.found.dir("devices")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, file), rule); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, inner, file), rule)
}
