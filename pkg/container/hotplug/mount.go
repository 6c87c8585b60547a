package hotplug

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// addPoint mounts a new mount point. One in the place of another waits for a restart.
func (m *machine) addPoint(ctx context.Context, key, value string) error {
	if _, set := m.doc.Values[key]; set {
		return errRestart
	}
	p, err := container.ParsePoint(key, value)
	if err != nil {
		return err
	}
	in, err := m.container()
	if err != nil {
		return err
	}
	point, err := m.Volumes.MountPoint(ctx, p, "")
	if err != nil {
		return err
	}
	_, err = m.mounter(ctx).Add(ctx, in, point)
	if err != nil {
		return errors.Join(err, m.deactivate(ctx, p))
	}
	return nil
}

// deactivate takes back that a volume was made ready.
func (m *machine) deactivate(ctx context.Context, p container.Point) error {
	if p.Kind() != container.VolumeSource {
		return nil
	}
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return err
	}
	return m.Storage.DeactivateVolumes(context.WithoutCancel(ctx), "", v)
}

// addDevice hands a device through. One in the place of another waits for a restart.
func (m *machine) addDevice(ctx context.Context, key string, d container.Device) error {
	if _, set := m.doc.Values[key]; set {
		return errRestart
	}
	ids, err := volumes.IDs(m.doc.Values)
	if err != nil {
		return err
	}
	node, err := power.NodeOf(d, ids)
	if err != nil {
		return err
	}
	named := ids.Privileged() || m.devicesNamed()
	if m.kernel.Kernel.Unified && is(d.DenyWrite) && !named {
		return errors.New("LXC cannot keep a container that runs from writing to a device")
	}
	in, err := m.container()
	if err != nil {
		return err
	}
	if err := m.mounter(ctx).AddNode(ctx, in, node); err != nil {
		return err
	}
	file, access := "devices.allow", "rw"
	switch {
	case is(d.DenyWrite) && !named:
		file, access = "devices.deny", "w"
	case is(d.DenyWrite):
		access = "r"
	case !named:
		return nil // all that there is may be opened: what is there was given
	}
	rule := fmt.Sprintf("%s %s %s", node.Type(), node.Number(), access)
	if err := m.allow(ctx, file, rule); err != nil {
		return errors.Join(err, m.mounter(ctx).RemoveNode(context.WithoutCancel(ctx), in, node))
	}
	return nil
}

// devicesNamed tells whether an unprivileged container may open only the devices that it was told
// of, as one with control groups of version 2 that must not write to one.
func (m *machine) devicesNamed() bool {
	for _, d := range container.Typed(m.doc.Values).Device {
		if m.kernel.Kernel.Unified && is(d.DenyWrite) {
			return true
		}
	}
	return false
}

// container is the running container as what mounts sees it.
func (m *machine) container() (mount.Container, error) {
	ids, err := volumes.MountIDs(m.doc.Values)
	if err != nil {
		return mount.Container{}, err
	}
	monitor, err := parent(m.init)
	if err != nil {
		return mount.Container{}, err
	}
	// What is left of it is an empty folder, which goes with the container's own.
	return mount.Container{Init: m.init, IDs: ids, Monitor: monitor, Staging: m.Dir(m.vmid)}, nil
}

// mounter is the machine, as far as it mounts.
func (m *machine) mounter(ctx context.Context) mount.Host {
	return mount.Host{Warn: func(format string, args ...any) { api.Warnf(ctx, format, args...) }}
}

// parent returns the process that has started another one: of the init of a container, its
// monitor.
func parent(pid int) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "PPid:"); ok {
			return strconv.Atoi(strings.TrimSpace(text))
		}
	}
	return 0, fmt.Errorf("%s names no parent", f.Name())
}
