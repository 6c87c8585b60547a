package host

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// Reservations say which VM has which PCI device of the host. One holds for some
// seconds while a VM starts, and then as long as its process lives: what a crash
// leaves behind keeps nobody away.
type Reservations struct {
	Dir string // where their file is, and its lock: run/qemu-server
	Now func() time.Time
	// Running returns the process of a VM, 0 where it does not run.
	Running func(vm id.VM) (pid int, err error)
}

// reservation is one line of the file.
type reservation struct {
	vm   id.VM
	pid  int   // of the VM, once it runs
	time int64 // until when it holds, before that
}

const (
	reservationPatience = 5 * time.Second
	reservationGrace    = 5 * time.Second // added to what a start is given
	maxReservations     = 1 << 20
)

// Reserve keeps devices for a VM that starts, for that long.
func (r Reservations) Reserve(ctx context.Context, vm id.VM, addresses []string, patience time.Duration) error {
	return r.change(ctx, addresses, func(held map[string]reservation) error {
		until := r.Now().Add(patience + reservationGrace).Unix()
		for _, address := range addresses {
			old, ok := held[address]
			if ok && old.vm == vm {
				if running, err := r.lives(old); err != nil || running {
					return err // what it has it keeps
				}
				until = max(until, old.time)
			}
			if err := r.free(ctx, vm, address, held); err != nil {
				return err
			}
		}
		for _, address := range addresses {
			held[address] = reservation{vm: vm, time: until}
		}
		return nil
	})
}

// Bind keeps devices for a VM as long as its process lives.
func (r Reservations) Bind(ctx context.Context, vm id.VM, addresses []string, pid int) error {
	return r.change(ctx, addresses, func(held map[string]reservation) error {
		for _, address := range addresses {
			if err := r.free(ctx, vm, address, held); err != nil {
				return err
			}
			held[address] = reservation{vm: vm, pid: pid}
		}
		return nil
	})
}

// free says who keeps vm from having a device.
func (r Reservations) free(ctx context.Context, vm id.VM, address string, held map[string]reservation) error {
	old, ok := held[address]
	if !ok || old.vm == vm {
		return nil
	}
	if old.pid == 0 {
		if old.time > r.Now().Unix() {
			return fmt.Errorf("PCI device '%s' is currently reserved for use by VMID '%d'", address, old.vm)
		}
		return nil
	}
	running, err := r.lives(old)
	if err != nil {
		return err
	}
	if running {
		return fmt.Errorf("PCI device '%s' already in use by VMID '%d'", address, old.vm)
	}
	api.Warnf(ctx, "leftover PCI reservation found for %s, lets take it...", address)
	return nil
}

// lives tells whether the process that a reservation is for is still that of its VM.
func (r Reservations) lives(old reservation) (bool, error) {
	if old.pid == 0 {
		return false, nil
	}
	pid, err := r.Running(old.vm)
	return err == nil && pid == old.pid, err
}

// Release gives up what a VM has, or only the given devices of it.
func (r Reservations) Release(ctx context.Context, vm id.VM, addresses ...string) error {
	if !file.Exists(r.path()) {
		return nil
	}
	return r.change(ctx, addresses, func(held map[string]reservation) error {
		maps.DeleteFunc(held, func(address string, old reservation) bool {
			return old.vm == vm && (len(addresses) == 0 || slices.Contains(addresses, address))
		})
		return nil
	})
}

// Of lists the devices that are kept for a VM.
func (r Reservations) Of(vm id.VM) ([]string, error) {
	held, err := r.read()
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(held, func(_ string, old reservation) bool { return old.vm != vm })
	return slices.Sorted(maps.Keys(held)), nil
}

func (r Reservations) path() string { return filepath.Join(r.Dir, "pci-id-reservations") }

// change changes the file under its lock. A dry run goes through the checks only.
func (r Reservations) change(ctx context.Context, addresses []string, do func(map[string]reservation) error) error {
	if plan.From(ctx) != nil {
		held, err := r.read()
		if err != nil {
			return err
		}
		return do(held)
	}
	lock := file.LockOptions{Patience: reservationPatience, What: "PCI devices " + strings.Join(addresses, " ")}
	return file.WithLock(ctx, r.path()+".lock", lock, func(ctx context.Context) error {
		held, err := r.read()
		if err != nil {
			return err
		}
		before := maps.Clone(held)
		if err := do(held); err != nil || maps.Equal(before, held) {
			return err
		}
		return file.Replace(r.path(), printReservations(held), 0o644)
	})
}

func (r Reservations) read() (map[string]reservation, error) {
	text, err := file.ReadOptional(r.path(), maxReservations)
	if err != nil {
		return nil, fmt.Errorf("PCI reservations: %w", err)
	}
	return parseReservations(string(text)), nil
}

var reservationLine = pattern.New(`^((?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\.[a-f0-9])?)\s(\d+)\s(time|pid):(\d+)$`)

// parseReservations reads lines such as "0000:01:00.0 100 pid:4711". Others mean
// nothing.
func parseReservations(text string) map[string]reservation {
	held := map[string]reservation{}
	for line := range strings.Lines(text) {
		m := reservationLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		vm, err1 := strconv.Atoi(m[2])
		n, err2 := strconv.ParseInt(m[4], 10, 63)
		if err1 != nil || err2 != nil {
			continue
		}
		one := reservation{vm: id.VM(vm), time: n}
		if m[3] == "pid" {
			one = reservation{vm: id.VM(vm), pid: int(n)}
		}
		held[m[1]] = one
	}
	return held
}

func printReservations(held map[string]reservation) []byte {
	var b strings.Builder
	for _, address := range slices.Sorted(maps.Keys(held)) {
		one := held[address]
		if one.pid != 0 {
			fmt.Fprintf(&b, "%s %d pid:%d\n", address, one.vm, one.pid)
		} else {
			fmt.Fprintf(&b, "%s %d time:%d\n", address, one.vm, one.time)
		}
	}
	return []byte(b.String())
}
