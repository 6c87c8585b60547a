package power

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
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
)

// A record notes what a VM that runs, or is about to, has of the node. Each thing
// is noted before it is made: what is in a record need not be there.
type record struct {
	Generation string              `json:"generation"`         // which start it is of
	Starting   bool                `json:"starting,omitempty"` // the command that starts it is not done
	Machine    string              `json:"machine,omitempty"`  // as composed, with its +pveN
	Taps       []string            `json:"taps,omitempty"`
	Group      string              `json:"group,omitempty"`     // control group
	GroupDirs  []string            `json:"groupdirs,omitempty"` // and its folders
	Volumes    []string            `json:"volumes,omitempty"`   // made ready
	PCI        []cmdline.PCIDevice `json:"pci,omitempty"`
	Hook       string              `json:"hook,omitempty"` // hook script to tell of the end
}

// recordPath is among the files that are removed with the others of the VM, as the
// last one.
func (s *Service) recordPath(vmid id.VM) string {
	return filepath.Join(string(s.Dir), vmid.String()+".run")
}

// readRecord returns what is noted, nil where nothing is.
func (s *Service) readRecord(vmid id.VM) (*record, error) {
	text, err := os.ReadFile(s.recordPath(vmid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record of VM %d: %w", vmid, err)
	}
	r := new(record)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("record of VM %d: %w", vmid, err)
	}
	return r, nil
}

// note writes the record down. It is in memory, and gone with all it speaks of when
// the machine is restarted, so nothing is waited for.
func (s *Service) note(vmid id.VM, r *record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(s.Dir), 0o755); err != nil {
		return err
	}
	path := s.recordPath(vmid)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("note what VM %d has: %w", vmid, err)
	}
	return os.Rename(path+".new", path)
}

// clearPatience is how long to wait for another one that clears up.
const clearPatience = 30 * time.Second

// Clear removes what a VM that does not run any more has left on the node. With a
// generation, it does so only for what that start has made. It may be called by
// several processes, and again: the second finds nothing to do.
func (s *Service) Clear(ctx context.Context, vmid id.VM, generation string) error {
	// Not the lock of the configuration: who stops the VM holds that, and waits.
	path := filepath.Join(s.Root, "run/lock/qemu-server", "clear-"+vmid.String()+".lock")
	lock, err := file.Acquire(ctx, path, file.LockOptions{Patience: clearPatience, What: "clearing up after VM " + vmid.String()})
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing a lock file cannot lose anything
	running, err := s.Running(vmid)
	if err != nil || running {
		return err
	}
	r, err := s.readRecord(vmid)
	if err != nil {
		r = nil // written by another version, or damaged: what has a fixed name is found without
	}
	if r == nil {
		r = &record{}
	}
	if generation != "" && r.Generation != generation {
		return nil
	}
	return s.clear(ctx, vmid, r)
}

// clear goes through everything, whatever fails.
func (s *Service) clear(ctx context.Context, vmid id.VM, r *record) error {
	errs := []error{s.sidecars(nil).Stop(ctx, vmid), s.deleteTaps(r.Taps), s.removeGroup(ctx, r), s.deactivate(ctx, r.Volumes), s.releasePCI(ctx, vmid, r.PCI)}
	if err := errors.Join(errs...); err != nil {
		// The record stays: the next command tries again.
		return fmt.Errorf("clear up after VM %d: %w", vmid, err)
	}
	if err := s.Dir.Clear(vmid); err != nil {
		return err
	}
	if r.Hook != "" {
		if err := s.hook(ctx, vmid, r.Hook, hook.PostStop); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
	return nil
}

func (s *Service) deleteTaps(names []string) error {
	if len(names) == 0 {
		return nil
	}
	net, err := s.Net()
	if err != nil {
		return err
	}
	defer net.Close()
	var errs []error
	for _, name := range names {
		if err := net.DeleteTap(name); err != nil {
			errs = append(errs, fmt.Errorf("network device %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
