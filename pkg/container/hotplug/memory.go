package hotplug

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/guest"
)

const mebibyte = 1 << 20

// The files of control groups that limit memory.
const (
	limit1   = "memory.limit_in_bytes"
	limitAll = "memory.memsw.limit_in_bytes" // memory and swap together
	usage1   = "memory.usage_in_bytes"
	usageAll = "memory.memsw.usage_in_bytes"
	max2     = "memory.max"
	high2    = "memory.high"
	swap2    = "memory.swap.max"
	current2 = "memory.current"
)

// setMemory changes how much memory and swap the container has. Version 1 limits the sum of
// both, so they are changed in one go, whichever of them the change is of.
func (m *machine) setMemory(ctx context.Context) error {
	if m.memory == nil {
		err := m.changeMemory(ctx)
		m.memory = &err
	}
	return *m.memory
}

func (m *machine) changeMemory(ctx context.Context) error {
	memory, err := m.wanted("memory", lxcconf.DefaultMemory)
	if err != nil {
		return err
	}
	swap, err := m.wanted("swap", lxcconf.DefaultSwap)
	if err != nil {
		return err
	}
	files := map[string]string{}
	for _, w := range lxcconf.MemoryLimits(memory, swap, m.kernel.Kernel.Unified, m.kernel.SwapLimit) {
		files[w[0]] = w[1]
	}
	if m.kernel.Kernel.Unified {
		return m.changeMemory2(ctx, files, memory)
	}
	return m.changeMemory1(ctx, files, memory)
}

// wanted is what an option of memory will be, in MiB: only what is to be changed now counts of
// what is pending.
func (m *machine) wanted(key string, none int) (int, error) {
	value, set := m.doc.Values[key]
	if slices.Contains(m.keys, key) {
		if next, changes := m.doc.Pending[key]; changes {
			value, set = next, true
		} else if _, goes := guest.PendingDeletes(m.doc)[key]; goes {
			set = false
		}
	}
	if !set {
		return none, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("%s: '%s' is not a number", key, value)
	}
	return n, nil
}

// changeMemory1 changes the limits of version 1. That of memory alone may never be above that
// of both together, so the one goes first when they grow and the other when they shrink.
func (m *machine) changeMemory1(ctx context.Context, files map[string]string, memory int) error {
	order := []string{limit1, limitAll}
	if _, both := files[limitAll]; both {
		old, err := m.number(limitAll)
		if err != nil {
			return err
		}
		if next, _ := strconv.ParseUint(files[limitAll], 10, 64); next > old {
			slices.Reverse(order)
		}
	}
	err := m.write(ctx, order, files)
	if err == nil {
		return nil
	}
	err = m.tooMuch(usage1, "memory", memory, err)
	if both, limited := files[limitAll]; limited {
		n, _ := strconv.Atoi(both)
		err = m.tooMuch(usageAll, "memory and swap", n/mebibyte, err)
	}
	return err
}

// changeMemory2 changes the limits of version 2. A limit of memory below what is used would
// make the kernel kill; so a smaller one is set only when the lower mark, at which it takes
// back what can be had, has made room for it.
func (m *machine) changeMemory2(ctx context.Context, files map[string]string, memory int) error {
	old, err := m.number(max2)
	if err != nil {
		return err
	}
	limit, _ := strconv.ParseUint(files[max2], 10, 64)
	if limit >= old {
		return m.write(ctx, []string{max2, high2, swap2}, files)
	}
	mark, err := m.limits.Read(high2)
	if err != nil {
		return err
	}
	if err := m.write(ctx, []string{high2}, files); err != nil {
		return err
	}
	used, err := m.number(current2)
	if err == nil && used > limit {
		err = m.tooMuch(current2, "memory", memory, errors.New("its processes need it"))
	}
	if err == nil {
		err = m.write(ctx, []string{swap2, max2}, files)
	}
	if err != nil {
		return errors.Join(err, m.limits.Write(high2, mark))
	}
	return nil
}

// A tooMuchError says that the container uses more than it is to have.
type tooMuchError struct{ error }

// tooMuch says of a limit that could not be set that the container uses more, where it does.
func (m *machine) tooMuch(file, what string, limit int, err error) error {
	if _, told := errors.AsType[tooMuchError](err); told {
		return err
	}
	used, failed := m.number(file)
	if failed != nil || used <= uint64(limit)*mebibyte {
		return err
	}
	return tooMuchError{fmt.Errorf("the container uses %d MiB of %s and cannot be limited to %d MiB: %w", used/mebibyte, what, limit, err)}
}

// write writes files of the container's control group in the given order. When one fails,
// those before have what they had again.
func (m *machine) write(ctx context.Context, order []string, files map[string]string) error {
	undo := m.undoing(ctx)
	defer undo.Fail()
	for _, file := range order {
		value, wanted := files[file]
		if !wanted {
			continue
		}
		old, err := m.limits.Read(file)
		if err != nil {
			return err
		}
		if err := m.limits.Write(file, value); err != nil {
			return err
		}
		undo.Add("restore "+file, func(context.Context) error { return m.limits.Write(file, old) })
	}
	undo.Success()
	return nil
}

// number reads a file of the container's control group with a number, or none for "max".
func (m *machine) number(file string) (uint64, error) {
	text, err := m.limits.Read(file)
	if err != nil {
		return 0, err
	}
	if text == "max" {
		return 1<<64 - 1, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s of container %d is '%s'", file, m.vmid, text)
	}
	return n, nil
}
