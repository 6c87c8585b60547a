package hotplug

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// plug composes the device of an option as it is with the given value.
func (m *machine) plug(key, value string) (*cmdline.Plug, error) {
	return cmdline.PlugDevice(m.with(key, value), *m.host, key)
}

// add gives the VM a device, and all that it stands on.
func (m *machine) add(ctx context.Context, key, value string) error {
	p, err := m.plug(key, value)
	if err != nil {
		return err
	}
	return m.give(ctx, p)
}

// give gives QEMU what p lists; what it has already is left out. When that fails,
// nothing of it is left.
func (m *machine) give(ctx context.Context, p *cmdline.Plug) error {
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	if err := m.prepare(ctx, p, undo); err != nil {
		return err
	}
	for _, step := range steps(p) {
		for _, args := range step.all {
			name, _ := args[step.name].(string)
			if step.command == "device_add" && m.devices[name] {
				continue
			}
			if err := m.Call(ctx, step.command, args, nil); err != nil {
				return told(err)
			}
			undo.Add(step.undo+" "+name, func(ctx context.Context) error {
				return m.Call(ctx, step.undo, map[string]string{step.arg: name}, nil)
			})
		}
	}
	undo.Success()
	for _, warning := range p.Warnings {
		api.Warnf(ctx, "%s", warning)
	}
	return m.look(ctx)
}

// A step is a command and the objects it makes.
type step struct {
	command string // makes one
	name    string // the argument that names it
	undo    string // unmakes it
	arg     string // the argument that names it there
	all     []map[string]any
}

func steps(p *cmdline.Plug) []step {
	return []step{
		{"object-add", "id", "object-del", "id", p.Objects},
		{"chardev-add", "id", "chardev-remove", "id", p.Chardevs},
		{"blockdev-add", "node-name", "blockdev-del", "node-name", p.Blockdevs},
		{"netdev_add", "id", "netdev_del", "id", p.Netdevs},
		{"device_add", "id", "device_del", "id", p.Devices},
	}
}

// prepare makes what has to be there on the node.
func (m *machine) prepare(ctx context.Context, p *cmdline.Plug, undo *revert.List) error {
	for _, text := range p.Volumes {
		v, err := id.ParseVolume(text)
		if err != nil {
			return err
		}
		if err := m.Power.Storage.ActivateVolumes(ctx, "", v); err != nil {
			return err
		}
	}
	for _, tap := range p.Taps {
		if err := m.Power.AddTap(m.vmid, tap); err != nil {
			return err
		}
		undo.Add("delete "+tap.Name, func(context.Context) error { return m.Power.RemoveTap(m.vmid, tap.Name) })
	}
	return nil
}

// told is an error of QEMU in its own words, which name the device.
func told(err error) error {
	if e, ok := errors.AsType[*qmp.Error](err); ok {
		return e
	}
	return err
}

// remove takes a device away and waits until the guest has let go of it. One that is
// not there is gone already.
func (m *machine) remove(ctx context.Context, name string) error {
	if !m.devices[name] {
		return nil
	}
	if err := m.UnplugDevice(ctx, name, unplugPatience); err != nil && !qmp.HasClass(err, qmp.DeviceNotFound) {
		if errors.Is(err, qmp.ErrTimeout) {
			return fmt.Errorf("error on hot-unplugging device '%s'", name)
		}
		return told(err)
	}
	delete(m.devices, name)
	return nil
}

// drop removes an object that nothing uses any more, if it is there.
func (m *machine) drop(ctx context.Context, command, arg, name string) error {
	err := m.Call(ctx, command, map[string]string{arg: name}, nil)
	if _, refused := errors.AsType[*qmp.Error](err); refused && !m.exists(ctx, command, name) {
		return nil
	}
	if err != nil {
		return told(err)
	}
	return nil
}

// exists tells whether what a command is to remove is there.
func (m *machine) exists(ctx context.Context, command, name string) bool {
	switch command {
	case "object-del":
		names, err := m.list(ctx, "/objects")
		return err != nil || names[name]
	case "blockdev-del":
		nodes, err := m.nodes(ctx)
		return err != nil || nodes[name]
	}
	return false
}

// nodes returns the names of the block nodes.
func (m *machine) nodes(ctx context.Context) (map[string]bool, error) {
	var all []struct {
		Name string `json:"node-name"`
	}
	if err := m.Call(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &all); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, one := range all {
		names[one.Name] = true
	}
	return names, nil
}
