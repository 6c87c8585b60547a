package edit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cloudinit"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// An Update is a change of a VM's configuration.
type Update struct {
	VM       id.VM
	Values   schema.Params // the options to set, as given; left as they are
	Delete   []string      // the options to delete
	Revert   []string      // the options whose pending change is forgotten
	Force    bool          // what deleted drives hold is destroyed
	SkipLock bool
	Digest   *string       // of the configuration that the change is based on
	Given    schema.Params // all parameters, for the log
}

// settled returns the options to set as they are kept.
func (s *Service) settleUpdate(ctx context.Context, u Update) (schema.Params, error) {
	if len(u.Values) == 0 && len(u.Delete) == 0 && len(u.Revert) == 0 {
		return nil, errNothing
	}
	if err := u.check(); err != nil {
		return nil, err
	}
	doc, err := s.Load(ctx, u.VM)
	if err != nil {
		return nil, err
	}
	set := settler{Service: s, vmid: u.VM, values: maps.Clone(u.Values), ostype: doc.Values["ostype"], hook: true}
	if ostype, given := u.Values["ostype"]; given {
		set.ostype = ostype
	}
	if err := set.settle(ctx); err != nil {
		return nil, err
	}
	return set.values, nil
}

var errNothing = errors.New("no options specified")

// check tells what is wrong with the lists of options.
func (u Update) check() error {
	faults := schema.Faults{}
	known := func(list, key string) {
		if f, _ := schema.TypeOf(reflect.TypeFor[qemu.Config]()).Lookup(key); f == nil {
			faults[list] = fmt.Sprintf("unknown option '%s'", key)
		}
	}
	both := func(list, key, other string) {
		faults[list] = fmt.Sprintf("you can't use '-%s' and -%s %s' at the same time", key, other, key)
	}
	reverted := map[string]bool{}
	for _, key := range u.Revert {
		known("revert", key)
		reverted[key] = true
		if _, set := u.Values[key]; set {
			both("revert", key, "revert")
		}
	}
	for _, key := range u.Delete {
		known("delete", key)
		if _, set := u.Values[key]; set {
			both("delete", key, "delete")
		}
		if reverted[key] {
			both("revert", key, "revert")
		}
	}
	if len(faults) > 0 {
		return api.ParamError(faults)
	}
	return nil
}

// CheckUpdate tells what is wrong with a change, and touches nothing.
func (s *Service) CheckUpdate(ctx context.Context, u Update) error {
	values, err := s.settleUpdate(ctx, u)
	if err != nil {
		return err
	}
	doc, err := s.Load(ctx, u.VM)
	if err != nil {
		return err
	}
	return u.allowed(doc, values)
}

// allowed checks a change against the configuration that it changes.
func (u Update) allowed(doc *config.Doc, values schema.Params) error {
	if err := guest.CheckDigest(doc, u.Digest); err != nil {
		return err
	}
	suspended := doc.Values["lock"] == "suspended" && contains(u.Delete, "vmstate")
	if !u.SkipLock && !suspended {
		if err := guest.CheckLock(cluster.VM, doc); err != nil {
			return err
		}
	}
	return checkBalloon(doc, values)
}

func contains(list []string, key string) bool {
	for _, word := range list {
		if word == key {
			return true
		}
	}
	return false
}

// checkBalloon refuses a balloon that is larger than the memory.
func checkBalloon(doc *config.Doc, values schema.Params) error {
	if values["memory"] == "" && values["balloon"] == "" {
		return nil
	}
	first := func(sections ...string) string {
		for _, text := range sections {
			if text != "" {
				return text
			}
		}
		return ""
	}
	balloon, err := strconv.Atoi(first(values["balloon"], doc.Pending["balloon"], doc.Values["balloon"]))
	if err != nil {
		return nil //nolint:nilerr // there is none
	}
	memory := qemu.Memory{Current: 512}
	if text := first(values["memory"], doc.Pending["memory"], doc.Values["memory"]); text != "" {
		if err := schema.Parse(text, &memory); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	if balloon > memory.Current {
		return errBalloon
	}
	return nil
}

var errBalloon = errors.New("balloon value too large (must be smaller than assigned memory)")

// Update changes the configuration of a VM. What cannot hold while the VM runs is
// pending then; of it the error tells what ought to have held.
func (s *Service) Update(ctx context.Context, u Update) error {
	values, err := s.settleUpdate(ctx, u)
	if err != nil {
		return err
	}
	return s.Locked(ctx, u.VM, "change of VM "+u.VM.String(), func(ctx context.Context) error {
		doc, err := s.Load(ctx, u.VM)
		if err != nil {
			return err
		}
		if err := u.allowed(doc, values); err != nil {
			return err
		}
		api.Printf(ctx, "update VM %d: %s\n", u.VM, u.words())
		return s.update(ctx, u, doc, values)
	})
}

// words are the parameters as the log has them.
func (u Update) words() string {
	var words []string
	for _, name := range sorted(u.Given) {
		switch name {
		case "node", "vmid", "digest", "background_delay":
		case "cipassword":
			words = append(words, "-"+name, "<hidden>")
		default:
			words = append(words, "-"+name, u.Given[name])
		}
	}
	return strings.Join(words, " ")
}

// update notes the changes as pending, and then makes them hold.
func (s *Service) update(ctx context.Context, u Update, doc *config.Doc, values schema.Params) error {
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	e := editing{Service: s, Update: u, doc: doc, values: values, undo: undo, touched: map[string]bool{}}
	e.order = bootDevices(doc)
	for _, step := range []func(context.Context) error{e.revert, e.delete, e.set} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := s.Save(ctx, u.VM, doc); err != nil {
		return err
	}
	undo.Success()
	return s.settlePending(ctx, u.VM, sorted(schema.Params(e.keys())))
}

// settlePending makes what is pending hold: all of it where the VM is off, else the
// given options as far as QEMU takes them.
func (s *Service) settlePending(ctx context.Context, vmid id.VM, keys []string) error {
	// What is written may read otherwise: blanks, what the format does not take.
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	changed := guest.CleanPending(doc)
	if len(doc.Pending) == 0 {
		if changed {
			return s.Save(ctx, vmid, doc)
		}
		return nil
	}
	running, err := s.Running(vmid)
	if err != nil {
		return err
	}
	var failed error
	if !running {
		failed = s.Apply(ctx, vmid, doc)
	} else {
		failed = s.plug(ctx, vmid, doc, keys)
	}
	return errors.Join(failed, s.Save(ctx, vmid, doc))
}

// plug makes changes hold in a running VM.
func (s *Service) plug(ctx context.Context, vmid id.VM, doc *config.Doc, keys []string) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("change VM %d as it runs, as far as it takes: %s", vmid, strings.Join(keys, " "))
		return nil
	}
	if s.Plugger == nil {
		return nil
	}
	faults, err := s.Plugger.Plug(ctx, vmid, doc, keys)
	if len(faults) > 0 {
		err = errors.Join(err, api.ParamError(faults))
	}
	if !cloudinit.HasChanges(doc) || !cmdline.HotplugFeatures(vm.Typed(doc.Values))["cloudinit"] {
		return err
	}
	for d := range qemu.Drives(doc.Values, qemu.Disks) {
		if d.IsCloudInit() {
			if failed := s.reseed(ctx, vmid, doc, d); failed != nil {
				return errors.Join(err, fmt.Errorf("cloud-init: %w", failed))
			}
			cloudinit.Written(doc)
		}
	}
	return err
}
