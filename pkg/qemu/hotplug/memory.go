package hotplug

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Memory that a VM with memory hotplug starts with, and its smallest module, in MiB.
const (
	staticMemory = 1024
	firstModule  = 512
)

// setMemory plugs memory modules in, or out, until the VM has as much as text says;
// modules come in fixed sizes, so that it may get a bit more. What was reached before a
// module was refused is kept.
func (m *machine) setMemory(ctx context.Context, text string) error {
	if err := m.need("memory"); err != nil {
		return err
	}
	var wanted qemu.Memory
	if err := schema.Parse(text, &wanted); err != nil {
		return err
	}
	conf := vm.Typed(m.doc.Values)
	if conf.HugePages != nil {
		return errRestart // pages would have to be reserved
	}
	if wanted.Current < staticMemory {
		return fmt.Errorf("minimum memory must be %dMB", staticMemory)
	}
	sockets := max(1, or(conf.Sockets, 1))
	modules := cmdline.Modules(1<<30, staticMemory, firstModule, sockets)
	target := cmdline.Modules(wanted.Current, staticMemory, firstModule, sockets)
	now := 0
	for now < len(modules) && m.devices[modules[now].Name] {
		now++
	}
	sum := func() string {
		if now == 0 {
			return strconv.Itoa(staticMemory)
		}
		return strconv.Itoa(modules[now-1].Sum)
	}
	for ; now < len(target); now++ {
		if err := m.addModule(ctx, modules[now]); err != nil {
			m.doc.Values["memory"] = sum()
			return err
		}
	}
	for ; now > len(target); now-- {
		if err := m.removeModule(ctx, modules[now-1]); err != nil {
			m.doc.Values["memory"] = sum()
			return err
		}
	}
	return nil
}

func (m *machine) addModule(ctx context.Context, module cmdline.Module) error {
	backend := "mem-" + module.Name
	if err := m.drop(ctx, "object-del", "id", backend); err != nil {
		return err
	}
	return m.give(ctx, &cmdline.Plug{
		Objects: []map[string]any{{"qom-type": "memory-backend-ram", "id": backend, "size": int64(module.Size) << 20}},
		Devices: []map[string]any{{"driver": "pc-dimm", "id": module.Name, "memdev": backend, "node": module.Node}},
	})
}

func (m *machine) removeModule(ctx context.Context, module cmdline.Module) error {
	if err := m.remove(ctx, module.Name); err != nil {
		return fmt.Errorf("error unplugging memory module %s: %w", module.Name, err)
	}
	return m.drop(ctx, "object-del", "id", "mem-"+module.Name)
}

// resetBalloon gives the guest all its memory.
func (m *machine) resetBalloon(ctx context.Context) error {
	if m.doc.Values["balloon"] == "0" {
		return errRestart // there is no balloon yet
	}
	return m.inflate(ctx, memoryOf(m.doc.Values))
}

// setBalloon sets how much memory the guest is left with. Where the node shares memory
// out among its VMs, it sets the balloon itself.
func (m *machine) setBalloon(ctx context.Context, text string) error {
	if (m.doc.Values["balloon"] == "0") != (text == "0") {
		return errRestart // the balloon would have to come or go
	}
	if m.doc.Values["shares"] != "0" {
		return nil
	}
	target, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	return m.inflate(ctx, target)
}

func (m *machine) inflate(ctx context.Context, mebibytes int) error {
	return m.Call(ctx, "balloon", map[string]int64{"value": int64(mebibytes) << 20}, nil)
}

// memoryOf returns the memory of a VM in MiB.
func memoryOf(values schema.Params) int {
	memory := qemu.Memory{Current: 512}
	if text, set := values["memory"]; set {
		_ = schema.Parse(text, &memory)
	}
	return memory.Current
}

// setHotplug changes what may change while the VM runs. CPUs and memory are laid out for
// it at the start.
func (m *machine) setHotplug(text string) error {
	after := cmdline.HotplugFeatures(&qemu.Config{Hotplug: &text})
	if slices.ContainsFunc([]string{"cpu", "memory"}, func(f string) bool { return after[f] != m.features[f] }) {
		return errRestart
	}
	m.features = after
	return nil
}

// setAgent changes what the guest agent is used for; its channel comes with a start.
func (m *machine) setAgent(text string) error {
	var old, next qemu.Agent
	if err := schema.Parse(text, &next); err != nil {
		return err
	}
	if now, set := m.doc.Values["agent"]; set {
		if err := schema.Parse(now, &old); err != nil {
			return err
		}
	}
	if old.Enabled != next.Enabled || !same(old.Type, next.Type) {
		return errRestart
	}
	return nil
}
