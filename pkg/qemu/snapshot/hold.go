package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/guestagent"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A hold notes what was done to a running guest to make it hold still, before it is done:
// should the command die, the next one undoes it. The note is among the files of QEMU, and gone
// with it.
type hold struct {
	Frozen bool `json:"frozen,omitempty"` // its file systems
	Runs   bool `json:"runs,omitempty"`   // it ran before
}

func (s *Service) holdPath(vmid id.VM) string {
	return filepath.Join(string(s.Dir), vmid.String()+".hold")
}

func (s *Service) note(vmid id.VM, h hold) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.holdPath(vmid), text, 0o600); err != nil {
		return fmt.Errorf("note that VM %d holds still: %w", vmid, err)
	}
	return nil
}

// Begin makes a running guest hold still: with its memory saved but for the last bit where snap
// has a place for it, else with its file systems frozen where its agent can do that.
func (m *machine) Begin(ctx context.Context, doc *config.Doc, snap schema.Params) (end func(context.Context), err error) {
	running, err := m.Running(ctx)
	if err != nil || !running {
		return nil, err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("make VM %d hold still while its volumes are snapshot", m.vmid)
		return nil, nil
	}
	var status qmp.Status
	if err := m.call(ctx, "query-status", nil, &status); err != nil {
		return nil, err
	}
	h := hold{Runs: status.Running}
	h.Frozen = h.Runs && snap["vmstate"] == "" && guestagent.Freezes(vm.Typed(doc.Values)) && m.agentAnswers(ctx)
	if err := m.note(m.vmid, h); err != nil {
		return nil, err
	}
	end = func(ctx context.Context) {
		m.state.close()
		if err := m.release(ctx, m.vmid); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
	if h.Frozen {
		m.freeze(ctx)
	}
	if snap["vmstate"] != "" {
		return end, m.beginState(ctx, snap["vmstate"])
	}
	return end, m.call(ctx, "stop", nil, nil)
}

// How long the agent may take to answer at all, and to freeze or thaw all file systems.
const (
	pingPatience   = 3 * time.Second
	freezePatience = 60 * time.Second
)

func (s *Service) agent(ctx context.Context, vmid id.VM, patience time.Duration, do func(context.Context, *qmp.Agent) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := qmp.DialAgent(ctx, s.Dir.Agent(vmid))
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // nothing is lost with a connection
	return do(ctx, a)
}

func (m *machine) agentAnswers(ctx context.Context) bool {
	return m.agent(ctx, m.vmid, pingPatience, func(context.Context, *qmp.Agent) error { return nil }) == nil
}

// freeze holds the file systems of the guest. A guest that cannot do that is snapshot all the
// same: its file systems have a journal for that.
func (m *machine) freeze(ctx context.Context) {
	err := m.agent(ctx, m.vmid, freezePatience, func(ctx context.Context, a *qmp.Agent) error {
		var count int
		return a.Call(ctx, "guest-fsfreeze-freeze", nil, &count)
	})
	if err != nil {
		api.Warnf(ctx, "guest-fsfreeze-freeze problems - %v", err)
	}
}

func (s *Service) thaw(ctx context.Context, vmid id.VM) error {
	err := s.agent(ctx, vmid, freezePatience, func(ctx context.Context, a *qmp.Agent) error {
		var count int
		return a.Call(ctx, "guest-fsfreeze-thaw", nil, &count)
	})
	if err != nil {
		err = fmt.Errorf("guest-fsfreeze-thaw problems - %w", err)
	}
	return err
}

// release lets a guest go on that was made to hold still, whatever was done of it. The note
// stays where that does not succeed.
func (s *Service) release(ctx context.Context, vmid id.VM) error {
	text, err := os.ReadFile(s.holdPath(vmid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var h hold
	if err := json.Unmarshal(text, &h); err != nil {
		h = hold{Runs: true} // the command died while it wrote
	}
	running, err := s.Running(vmid)
	if err != nil {
		return err
	}
	if running {
		if err := s.settleHeld(ctx, vmid); err != nil {
			return err
		}
		if err := s.letGo(ctx, vmid, h); err != nil {
			return fmt.Errorf("let VM %d go on: %w", vmid, err)
		}
	}
	if err := os.Remove(s.holdPath(vmid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// settleHeld sees to it that the guest goes on with files that have the names of its volumes.
func (s *Service) settleHeld(ctx context.Context, vmid id.VM) error {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	return s.settleAll(ctx, vmid, qemu.SnapshotVolumes(doc.Values))
}

func (s *Service) letGo(ctx context.Context, vmid id.VM, h hold) error {
	if err := s.endMigration(ctx, vmid); err != nil {
		return err
	}
	var status qmp.Status
	if err := s.Power.Call(ctx, vmid, "query-status", nil, &status); err != nil {
		return err
	}
	// After its memory was saved, QEMU has let go of the disks of a guest that was paused before
	// too. It takes them again only to go on.
	if status.Status == "postmigrate" || h.Runs && status.Status == "paused" {
		if err := s.Power.Call(ctx, vmid, "cont", nil, nil); err != nil {
			return err
		}
	}
	if !h.Runs && status.Status == "postmigrate" {
		if err := s.Power.Call(ctx, vmid, "stop", nil, nil); err != nil {
			return err
		}
	}
	if h.Frozen {
		return s.thaw(ctx, vmid)
	}
	return nil
}

// Heal lets a guest go on that a command has left standing which died. Whoever lets it go on
// otherwise asks this first.
func (s *Service) Heal(ctx context.Context, vmid id.VM) error { return s.heal(ctx, vmid) }

// heal lets a guest go on that a command has left standing which died. That is known by a note
// while the configuration says that nobody works on a snapshot.
func (s *Service) heal(ctx context.Context, vmid id.VM) error {
	if _, err := os.Stat(s.holdPath(vmid)); err != nil || plan.From(ctx) != nil {
		return nil
	}
	return s.Locked(ctx, vmid, what(vmid, "release"), func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil || doc.Values["lock"] != "" {
			return err
		}
		return s.release(ctx, vmid)
	})
}
