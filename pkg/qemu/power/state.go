package power

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// stateFile is the name under which QEMU is given the open file of a saved state.
const stateFile = "state"

// Progress tells how far the saving or loading of a state is.
type Progress struct {
	Status            string
	Transferred, Left int64 // bytes
	Took              time.Duration
}

// SaveState saves the memory and the devices of a VM at path, a file or block device
// that is there and large enough. The guest holds still from here on. tell, which may
// be nil, is told about once a second how far it is.
func SaveState(ctx context.Context, m *qmp.Monitor, path string, tell func(Progress)) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer f.Close()
	if err := m.Call(ctx, "stop", nil, nil); err != nil {
		return err
	}
	// A file takes what it is given: the usual limit is for networks.
	if err := m.Call(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(1) << 40}, nil); err != nil {
		return err
	}
	if err := m.PassFile(ctx, stateFile, f); err != nil {
		return err
	}
	if err := m.Call(ctx, "migrate", map[string]any{"uri": "fd:" + stateFile}, nil); err != nil {
		return err
	}
	if err := awaitMigration(ctx, m, tell); err != nil {
		stopSaving(context.WithoutCancel(ctx), m)
		return err
	}
	return f.Sync()
}

// cancelPatience is how long QEMU may take to give up saving.
const cancelPatience = 10 * time.Second

// stopSaving makes QEMU give up saving. The guest can only go on when it has.
func stopSaving(ctx context.Context, m *qmp.Monitor) {
	ctx, cancel := context.WithTimeout(ctx, cancelPatience)
	defer cancel()
	if m.Call(ctx, "migrate_cancel", nil, nil) == nil {
		_ = awaitMigration(ctx, m, nil)
	}
}

// LoadState lets a QEMU that was started to wait for a state have that at path. The
// guest does not run yet when it returns.
func LoadState(ctx context.Context, m *qmp.Monitor, path string, tell func(Progress)) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer f.Close()
	if err := m.PassFile(ctx, stateFile, f); err != nil {
		return err
	}
	if err := m.Call(ctx, "migrate-incoming", map[string]any{"uri": "fd:" + stateFile}, nil); err != nil {
		return err
	}
	return awaitMigration(ctx, m, tell)
}

// awaitMigration waits until QEMU has sent or taken in a state.
func awaitMigration(ctx context.Context, m *qmp.Monitor, tell func(Progress)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for told := time.Now(); ; {
		var info struct {
			Status string `json:"status"`
			Error  string `json:"error-desc"`
			Total  int64  `json:"total-time"`
			RAM    struct {
				Transferred int64 `json:"transferred"`
				Remaining   int64 `json:"remaining"`
			} `json:"ram"`
		}
		if err := m.Call(ctx, "query-migrate", nil, &info); err != nil {
			return err
		}
		switch info.Status {
		case "completed":
			return nil
		case "", "none":
			return errors.New("QEMU is at no state")
		case "failed", "cancelled":
			if info.Error == "" {
				info.Error = "QEMU does not say why"
			}
			return fmt.Errorf("%s: %s", info.Status, info.Error)
		}
		if tell != nil && time.Since(told) >= time.Second {
			told = time.Now()
			tell(Progress{info.Status, info.RAM.Transferred, info.RAM.Remaining, time.Duration(info.Total) * time.Millisecond})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// load gives QEMU the state to go on from, and lets the guest run.
func (s *Service) load(ctx context.Context, b *boot) error {
	if b.State == "" || plan.From(ctx) != nil {
		return nil
	}
	path, err := s.statePath(ctx, b.State)
	if err != nil {
		return err
	}
	return LoadState(ctx, b.monitor, path, nil)
}

// statePath makes the volume of a state ready and returns where it is.
func (s *Service) statePath(ctx context.Context, text string) (string, error) {
	v, err := id.ParseVolume(text)
	if err != nil {
		return "", err
	}
	if err := s.Storage.ActivateVolumes(ctx, "", v); err != nil {
		return "", err
	}
	return s.Storage.Path(ctx, v, "")
}

// goOn lets a guest run whose state was loaded. From then on its disks differ from
// that state, so that a suspended VM forgets it before.
func (s *Service) goOn(ctx context.Context, b *boot) error {
	if b.State == "" || plan.From(ctx) != nil {
		return nil
	}
	if b.resumes {
		api.Printf(ctx, "Resumed VM, removing state\n")
		if err := s.forgetState(ctx, b); err != nil {
			return err
		}
	}
	if !b.Paused {
		if err := b.monitor.Call(ctx, "cont", nil, nil); err != nil {
			return fmt.Errorf("VM %d %w", b.vm, err)
		}
	}
	if b.resumes {
		if err := s.freeState(ctx, b.State); err != nil {
			api.Warnf(ctx, "removing state: %v", err) // the VM runs: nothing is to be undone for this
		}
	}
	return nil
}

// stateKeys are the options that speak of a saved state.
func stateKeys() []string {
	return []string{"lock", "vmstate", "runningmachine", "runningcpu", "running-nets-host-mtu"}
}

// forgetState takes the state out of the configuration.
func (s *Service) forgetState(ctx context.Context, b *boot) error {
	old := maps.Clone(b.doc.Values)
	for _, key := range stateKeys() {
		delete(b.doc.Values, key)
	}
	b.undo.Add("note the saved state again", func(ctx context.Context) error {
		b.doc.Values = old
		return s.Save(ctx, b.vm, b.doc)
	})
	return s.Save(ctx, b.vm, b.doc)
}

func (s *Service) freeState(ctx context.Context, text string) error {
	v, err := id.ParseVolume(text)
	if err != nil {
		return err
	}
	return errors.Join(s.Storage.DeactivateVolumes(ctx, "", v), s.Storage.Free(ctx, v))
}
