package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/qemu/status"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// SaveState makes the volume for the memory of the VM and notes it, and as what the VM runs,
// for the state fits nothing else.
func (m *machine) SaveState(ctx context.Context, doc *config.Doc, snap schema.Params, name string) error {
	if err := m.checkState(ctx); err != nil {
		return err
	}
	storeid := m.Power.StateStorage(ctx, doc.Values)
	if p := plan.From(ctx); p != nil {
		p.Stepf("make a volume for the state of VM %d on storage '%s'", m.vmid, storeid)
		snap["vmstate"] = fmt.Sprintf("%s:%d/vm-%d-state-%s.raw", storeid, m.vmid, m.vmid, name)
		return nil
	}
	machine, cpu, err := m.Power.Hardware(ctx, m.vmid)
	if err != nil {
		return err
	}
	// What the guest changes while its memory is written is written again.
	room := maps.Clone(doc.Values)
	room["memory"] = strconv.FormatInt(2*status.Memory(doc.Values), 10)
	volume, err := m.Power.AllocState(ctx, m.vmid, room, storeid, name)
	if err != nil {
		return err
	}
	snap["vmstate"], snap["runningmachine"] = volume.String(), machine
	if cpu != "" {
		snap["runningcpu"] = cpu
	}
	if sizes := m.Power.HostMTU(m.vmid); sizes != "" {
		snap["running-nets-host-mtu"] = sizes
	}
	return nil
}

// checkState tells whether the state can be saved at all: some devices have one that QEMU cannot
// read.
func (m *machine) checkState(ctx context.Context) error {
	var info struct {
		Reasons []string `json:"blocked-reasons"`
	}
	if err := m.Power.Call(ctx, m.vmid, "query-migrate", nil, &info); err != nil {
		return err
	}
	if len(info.Reasons) > 0 {
		return fmt.Errorf("the state of VM %d cannot be saved: %s", m.vmid, strings.Join(info.Reasons, "; "))
	}
	return nil
}

// RemoveState removes the volume with the memory.
func (m *machine) RemoveState(ctx context.Context, snap schema.Params) error {
	volume, err := id.ParseVolume(snap["vmstate"])
	if err != nil {
		return err
	}
	return m.Storage.Free(ctx, volume)
}

// Resume starts the VM from the memory that was saved.
func (m *machine) Resume(ctx context.Context, doc *config.Doc, snap schema.Params) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("start VM %d from %s", m.vmid, snap["vmstate"])
		return nil
	}
	o := power.StartOptions{State: snap["vmstate"], Machine: snap["runningmachine"], CPU: snap["runningcpu"], HostMTU: power.ParseHostMTU(snap["running-nets-host-mtu"])}
	if o.Machine == "" {
		o.Machine = snap["machine"] // as it was noted before there was runningmachine
	}
	return m.Power.StartLocked(ctx, m.vmid, o)
}

// saving is a memory on its way into a volume.
type saving struct {
	file  *os.File
	room  int64 // bytes of the volume
	begun time.Time
}

func (s *saving) close() {
	if s != nil {
		_ = s.file.Close()
	}
}

// capability makes QEMU stop before it hands the disks over.
const capability = "pause-before-switchover"

// beginState saves the memory but for what is left when the guest holds still.
func (m *machine) beginState(ctx context.Context, text string) error {
	volume, err := id.ParseVolume(text)
	if err != nil {
		return err
	}
	if err := m.Storage.ActivateVolumes(ctx, "", volume); err != nil {
		return err
	}
	path, err := m.Storage.Path(ctx, volume, "")
	if err != nil {
		return err
	}
	info, err := m.Storage.Info(ctx, volume)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	m.state = &saving{file: f, room: info.Size, begun: time.Now()}
	api.Printf(ctx, "saving VM state and RAM using storage '%s'\n", volume.Storage)
	if err := m.migrate(ctx); err != nil {
		return failedState(ctx, err)
	}
	return failedState(ctx, m.await(ctx, "pre-switchover"))
}

// failedState says what failed, or that the user has had enough.
func failedState(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("unable to save VM state and RAM - %w", err)
	}
	return err
}

// dialPatience is how long QEMU may take to greet, other commands that talk to it included.
const dialPatience = 5 * time.Second

// migrate makes QEMU begin.
func (m *machine) migrate(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, dialPatience)
	monitor, err := m.Dir.Dial(bounded, m.vmid)
	cancel()
	if err != nil {
		return err
	}
	defer monitor.Close() //nolint:errcheck // QEMU has all it needs by then
	if err := monitor.Call(ctx, "migrate-set-capabilities", capabilities(true), nil); err != nil {
		return err
	}
	// A file takes what it is given: the usual limit is for networks.
	if err := monitor.Call(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(1) << 40}, nil); err != nil {
		return err
	}
	if err := monitor.PassFile(ctx, "state", m.state.file); err != nil {
		return err
	}
	return monitor.Call(ctx, "migrate", map[string]string{"uri": "fd:state"}, nil)
}

func capabilities(on bool) map[string]any {
	return map[string]any{"capabilities": []map[string]any{{"capability": capability, "state": on}}}
}

// migration is how far QEMU is.
type migration struct {
	Status string `json:"status"`
	Error  string `json:"error-desc"`
	Total  int64  `json:"total-time"` // ms
	RAM    struct {
		Transferred int64 `json:"transferred"`
		Remaining   int64 `json:"remaining"`
	} `json:"ram"`
}

func (i migration) bytes() string { return schema.Bytes(float64(i.RAM.Transferred), 2) }

// How often is asked how far it is, and told: the longer it takes, the less often.
const (
	askEvery    = 20 * time.Millisecond
	tellEvery   = time.Second
	tellSlowly  = 10 * time.Second
	tellsBefore = 60
	spare       = 64 << 20 // bytes for devices, which are written last
)

// await waits until the migration has come as far as the wanted status.
func (m *machine) await(ctx context.Context, wanted string) error {
	told, tells, pause, held := time.Now(), 0, askEvery, false
	for {
		var info migration
		if err := m.Power.Call(ctx, m.vmid, "query-migrate", nil, &info); err != nil {
			return err
		}
		switch info.Status {
		case wanted:
			return nil
		case "failed", "cancelled", "cancelling", "none", "":
			return errors.New(why(info))
		}
		// A guest that changes its memory faster than it is written is stopped while there is
		// room for what is left.
		if !held && info.Status == "active" && info.RAM.Transferred+info.RAM.Remaining+spare > m.state.room {
			held = true
			if err := m.Power.Call(ctx, m.vmid, "stop", nil, nil); err != nil {
				return err
			}
		}
		every := tellEvery
		if tells >= tellsBefore {
			every = tellSlowly
		}
		if time.Since(told) >= every {
			told, tells = time.Now(), tells+1
			api.Printf(ctx, "%s in %s\n", info.bytes(), schema.Duration(time.Since(m.state.begun).Seconds()))
			if tells == tellsBefore {
				api.Printf(ctx, "reducing reporting rate to every 10s\n")
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
			pause = min(2*pause, 500*time.Millisecond)
		}
	}
}

// why says why a migration did not go on.
func why(info migration) string {
	switch {
	case info.Error != "":
		return info.Error
	case info.Status == "failed":
		return "QEMU could not write it: is the storage full?"
	}
	return fmt.Sprintf("QEMU is no longer at it (%s)", info.Status)
}

// FinishState writes the rest.
func (m *machine) FinishState(ctx context.Context, _ schema.Params) error {
	if plan.From(ctx) != nil || m.state == nil {
		return nil
	}
	if err := m.call(ctx, "migrate-continue", map[string]string{"state": "pre-switchover"}, nil); err != nil {
		return failedState(ctx, err)
	}
	if err := m.await(ctx, "completed"); err != nil {
		return failedState(ctx, err)
	}
	if err := m.state.file.Sync(); err != nil {
		return failedState(ctx, err)
	}
	var info migration
	if err := m.call(ctx, "query-migrate", nil, &info); err != nil {
		return err
	}
	api.Printf(ctx, "completed saving the VM state in %s, saved %s\n", schema.Duration(time.Since(m.state.begun).Seconds()), info.bytes())
	return nil
}

// cancelPatience is how long QEMU may take to give up a migration.
const cancelPatience = 30 * time.Second

// endMigration sees to it that no memory is being saved any more, and that the next saving,
// whatever for, is an ordinary one.
func (s *Service) endMigration(ctx context.Context, vmid id.VM) error {
	ctx, cancel := context.WithTimeout(ctx, cancelPatience)
	defer cancel()
	for asked := false; ; asked = true {
		var info migration
		if err := s.Power.Call(ctx, vmid, "query-migrate", nil, &info); err != nil {
			return err
		}
		switch info.Status {
		case "", "none", "completed", "failed", "cancelled":
			return s.Power.Call(ctx, vmid, "migrate-set-capabilities", capabilities(false), nil)
		}
		if !asked {
			if err := s.Power.Call(ctx, vmid, "migrate_cancel", nil, nil); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("QEMU does not give up saving its state: %w", qmp.ErrTimeout)
		case <-time.After(askEvery):
		}
	}
}
