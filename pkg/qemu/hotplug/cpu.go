package hotplug

import (
	"context"
	"errors"
	"fmt"
	"strconv"

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
		name := fmt.Sprintf("cpu%d", now)
		if !m.devices[name] {
			reached()
			return fmt.Errorf("%s was there from the start and cannot be removed", name)
		}
		if err := m.remove(ctx, name); err != nil {
			reached()
			return fmt.Errorf("error unplugging %s: %w", name, err)
		}
	}
	return nil
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
