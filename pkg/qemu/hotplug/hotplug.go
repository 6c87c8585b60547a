// Package hotplug changes the hardware of VMs that run, to what is configured.
//
// What QEMU and the guest do not take while they run stays pending. What they refuse
// stays pending too, and is told. Whatever a change that fails has given QEMU on the
// way is taken back.
package hotplug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cloudinit"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Service changes the VMs of a node.
type Service struct {
	Power   *power.Service
	Volumes Volumes
}

// Volumes are what becomes of the volumes of drives that go away.
type Volumes interface {
	// Detach notes the volume of a drive as unused.
	Detach(ctx context.Context, vmid id.VM, doc *config.Doc, d qemu.Drive) error
	// Free removes the volume that the VM has under key.
	Free(ctx context.Context, vmid id.VM, doc *config.Doc, key, volume string) error
}

// errRestart says that a change has to wait for the next start.
var errRestart = errors.New("needs a restart")

// unplugPatience is how long a guest may take to let go of a device.
const unplugPatience = 10 * time.Second

// A machine is a running VM that is being changed.
type machine struct {
	*Service
	*qmp.Monitor
	vmid     id.VM
	doc      *config.Doc
	host     *cmdline.Host
	hardware string          // the machine type it runs as
	features map[string]bool // what may be changed
	devices  map[string]bool // by id
}

// Plug makes the pending changes of doc that are among keys hold in a running VM, as far
// as that is possible: they move from doc.Pending to doc.Values. It returns what was
// refused, by option.
func (s *Service) Plug(ctx context.Context, vmid id.VM, doc *config.Doc, keys []string) (schema.Faults, error) {
	fast(doc)
	deletes := guest.PendingDeletes(doc)
	pending := slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		_, changes := doc.Pending[key]
		_, goes := deletes[key]
		return !changes && !goes
	})
	if len(pending) == 0 {
		return nil, nil
	}
	m, err := s.open(ctx, vmid, doc)
	if err != nil {
		return nil, err
	}
	defer m.Close() //nolint:errcheck // nothing is left to be said
	faults := schema.Faults{}
	note := func(key string, err error) bool {
		if err != nil && !errors.Is(err, errRestart) {
			faults[key] = "hotplug problem - " + err.Error()
		}
		return err == nil
	}
	for _, key := range slices.Sorted(slices.Values(pending)) {
		if force, goes := deletes[key]; goes && note(key, m.delete(ctx, key, force)) {
			settle(doc, key, nil)
		}
	}
	for _, key := range slices.Sorted(slices.Values(pending)) {
		value, changes := doc.Pending[key]
		if changes && note(key, m.set(ctx, key, value)) {
			settle(doc, key, &value)
		}
	}
	return faults, nil
}

// fast makes the changes hold that no running QEMU knows of.
func fast(doc *config.Doc) {
	for key := range guest.PendingDeletes(doc) {
		if isFast(key) {
			settle(doc, key, nil)
		}
	}
	for key, value := range maps.Clone(doc.Pending) {
		if key != "delete" && isFast(key) {
			settle(doc, key, &value)
		}
	}
}

func isFast(key string) bool {
	f, _ := schema.TypeOf(reflect.TypeFor[qemu.Config]()).Lookup(key)
	return f != nil && f.Tag.Get("hotplug") == "fast"
}

// settle makes the change of an option hold; nil is its end.
func settle(doc *config.Doc, key string, value *string) {
	var old *string
	if text, set := doc.Values[key]; set {
		old = &text
	}
	cloudinit.Record(doc, key, old, value)
	guest.Revert(doc, key)
	if value == nil {
		delete(doc.Values, key)
		return
	}
	doc.Values[key] = *value
}

// open connects to the VM.
func (s *Service) open(ctx context.Context, vmid id.VM, doc *config.Doc) (*machine, error) {
	conf := vm.Typed(doc.Values)
	arch := ""
	if conf.Arch != nil {
		arch = *conf.Arch
	}
	host, err := s.Power.Gather(ctx, vmid, arch)
	if err != nil {
		return nil, err
	}
	hardware, _, err := s.Power.Hardware(ctx, vmid)
	if err != nil {
		return nil, err
	}
	monitor, err := s.Power.Dial(ctx, vmid, "device_add")
	if err != nil {
		return nil, err
	}
	m := &machine{
		Service: s, Monitor: monitor, vmid: vmid, doc: doc, host: host, hardware: hardware,
		features: cmdline.HotplugFeatures(conf),
	}
	if err := m.look(ctx); err != nil {
		return nil, errors.Join(err, monitor.Close())
	}
	return m, nil
}

// look asks which devices the VM has.
func (m *machine) look(ctx context.Context) error {
	names, err := m.list(ctx, "/machine/peripheral")
	m.devices = names
	return err
}

// list returns the names of what is at a place of QEMU's object tree.
func (m *machine) list(ctx context.Context, path string) (map[string]bool, error) {
	var all []struct{ Name string }
	if err := m.Call(ctx, "qom-list", map[string]string{"path": path}, &all); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, one := range all {
		names[one.Name] = true
	}
	return names, nil
}

// with returns the VM as it is when an option has the given value.
func (m *machine) with(key, value string) cmdline.VM {
	values := maps.Clone(m.doc.Values)
	values[key] = value
	return cmdline.VM{ID: m.vmid, Config: *vm.Typed(values), Machine: m.hardware}
}

// need returns errRestart where the user does not want a kind of change.
func (m *machine) need(feature string) error {
	if !m.features[feature] {
		return errRestart
	}
	return nil
}

// delete ends an option of the running VM.
func (m *machine) delete(ctx context.Context, key string, force bool) error {
	family, _, _ := schema.Member(key)
	switch {
	case key == "hotplug":
		return m.setHotplug("1")
	case key == "tablet":
		return m.setTablet(ctx, true)
	case family == "usb":
		return m.removeUSB(ctx, key)
	case key == "vcpus":
		return m.setCPUs(ctx, 0)
	case key == "balloon":
		return m.resetBalloon(ctx)
	case family == "net":
		return m.removeNet(ctx, key)
	case qemu.IsDriveKey(key):
		return m.deleteDisk(ctx, key, force)
	case key == "memory":
		return m.setMemory(ctx, "512")
	case key == "cpuunits" || key == "cpulimit":
		return m.limit(ctx, key, nil)
	}
	return errRestart
}

// set gives an option of the running VM a value.
func (m *machine) set(ctx context.Context, key, value string) error {
	family, _, _ := schema.Member(key)
	switch {
	case key == "hotplug":
		return m.setHotplug(value)
	case key == "tablet":
		return m.setTablet(ctx, value != "0")
	case family == "usb":
		return m.setUSB(ctx, key, value)
	case key == "vcpus":
		return m.setVCPUs(ctx, value)
	case key == "balloon":
		return m.setBalloon(ctx, value)
	case family == "net":
		return m.setNet(ctx, key, value)
	case qemu.IsDriveKey(key):
		return m.setDrive(ctx, key, value)
	case key == "memory":
		return m.setMemory(ctx, value)
	case key == "cpuunits" || key == "cpulimit":
		return m.limit(ctx, key, &value)
	case key == "agent":
		return m.setAgent(value)
	}
	return errRestart
}

// Reload takes the disc out of the CD drive key of a running VM, calls change, and
// puts it in again.
func (s *Service) Reload(ctx context.Context, vmid id.VM, doc *config.Doc, key string, change func(context.Context) error) error {
	m, err := s.open(ctx, vmid, doc)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // nothing is left to be said
	if err := m.eject(ctx, key); err != nil {
		return err
	}
	failed := change(ctx)
	if err := m.insert(ctx, key, doc.Values[key]); err != nil {
		return errors.Join(failed, fmt.Errorf("put the disc in again: %w", err))
	}
	return failed
}
