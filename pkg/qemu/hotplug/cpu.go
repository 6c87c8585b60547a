package hotplug

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

// setVCPUs plugs in as many CPUs as text says.
func (m *machine) setVCPUs(ctx context.Context, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	return m.setCPUs(ctx, n)
}

// setCPUs plugs in so many CPUs, 0 for all that sockets and cores make. What was reached
// before a CPU was refused is kept.
func (m *machine) setCPUs(ctx context.Context, wanted int) error {
	if err := m.need("cpu"); err != nil {
		return err
	}
	conf := vm.Typed(m.doc.Values)
	most := max(1, or(conf.Sockets, 1)) * max(1, or(conf.Cores, 1))
	if wanted == 0 {
		wanted = most
	}
	if wanted > most {
		return errors.New("you can't add more vcpus than maxcpus")
	}
	var running []struct{}
	if err := m.Call(ctx, "query-cpus-fast", nil, &running); err != nil {
		return err
	}
	now := len(running)
	reached := func() { m.doc.Values["vcpus"] = strconv.Itoa(now) }
	for ; now < wanted; now++ {
		if err := m.addCPU(ctx, now+1); err != nil {
			reached()
			return err
		}
	}
	for ; now > wanted; now-- {
		if err := m.removeCPU(ctx, now); err != nil {
			reached()
			return fmt.Errorf("error unplugging cpu%d: %w", now, err)
		}
	}
	return nil
}

// errEmulated is the error of what breaks a QEMU that emulates the CPU: it frees what it
// still uses, and dies a while later.
var errEmulated = errors.New("QEMU does not survive that without KVM")

// removeCPU takes the n-th CPU away, which is the last one. QEMU does not tell when it is
// gone, so it is asked.
func (m *machine) removeCPU(ctx context.Context, n int) error {
	name := fmt.Sprintf("cpu%d", n)
	if !m.devices[name] {
		return errors.New("it was there from the start")
	}
	var kvm struct{ Enabled bool }
	if err := m.Call(ctx, "query-kvm", nil, &kvm); err != nil {
		return err
	}
	if !kvm.Enabled {
		return errEmulated
	}
	if err := m.Call(ctx, "device_del", map[string]string{"id": name}, nil); err != nil {
		return told(err)
	}
	for deadline := time.Now().Add(unplugPatience); ; {
		var left []struct{}
		if err := m.Call(ctx, "query-cpus-fast", nil, &left); err != nil {
			return err
		}
		if len(left) < n {
			delete(m.devices, name)
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the guest does not let go of it")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (m *machine) addCPU(ctx context.Context, n int) error {
	p, err := cmdline.PlugDevice(m.with("vcpus", strconv.Itoa(n)), *m.host, fmt.Sprintf("cpu%d", n))
	if err != nil {
		return err
	}
	return m.give(ctx, p)
}

func or(n *int, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return *n
}

// limit sets how much of the processors the VM may use.
func (m *machine) limit(ctx context.Context, key string, value *string) error {
	values := map[string]string{}
	for _, name := range []string{"cpuunits", "cpulimit"} {
		if text, set := m.doc.Values[name]; set {
			values[name] = text
		}
	}
	delete(values, key)
	if value != nil {
		values[key] = *value
	}
	return m.Power.Limit(ctx, m.vmid, vm.Typed(values))
}
