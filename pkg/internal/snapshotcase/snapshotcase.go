// Package snapshotcase runs the recorded behaviour of snapshots, which both kinds of guests are held
// to, against guests that are made of nothing but what a case says of them.
package snapshotcase

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Kind is a kind of guest under test.
type Kind struct {
	Kind       cluster.Kind
	Read       func(id.VM, []byte) (*config.Doc, error)
	Write      func(*config.Doc) ([]byte, error)
	Volumes    func(schema.Params) []guest.Volume
	RolledBack func(old, now *config.Doc, snap schema.Params)
	// Begin is what happens before the volumes of a running guest are snapshot.
	Begin func(c *Case, doc *config.Doc, snap schema.Params) error
	State bool // whether state can be saved
}

// A Case is one case of a suite.
type Case struct {
	Name, Op, Config      string
	VMID                  id.VM
	SnapName, Description string
	VMState, Force        bool
	Fakes                 struct {
		Running          bool
		SnapshotPossible bool            `json:"snapshot_possible"`
		FreezePossible   bool            `json:"freeze_possible"`
		StopPossible     bool            `json:"stop_possible"`
		KillPossible     bool            `json:"kill_possible"`
		SaveWorks        bool            `json:"save_vmstate_works"`
		ActivatePossible bool            `json:"activate_storage_possible"`
		Monitor          map[string]bool `json:"vm_mon"`
		Snapshot         map[string]bool `json:"vol_snapshot_possible"`
		Delete           map[string]bool `json:"vol_snapshot_delete_possible"`
		CanRollback      map[string]bool `json:"vol_snapshot_rollback_possible"`
		Rollback         map[string]bool `json:"vol_snapshot_rollback_enabled"`
	}
	Expected struct {
		Config    string
		Error     *string
		Snapshots map[string]string `json:"volume_snapshots"`
		Deletes   map[string]string `json:"volume_snapshot_deletes"`
		Rollbacks map[string]string `json:"volume_snapshot_rollbacks"`
	}
}

// Run runs all cases of a suite.
func Run(t *testing.T, suite string, kind Kind) {
	var data struct {
		Environment struct {
			State    schema.Params `json:"saved_vmstate"`
			SnapTime int64         `json:"snaptime_in_expected"`
		}
		Cases []*Case
	}
	conformance.Load(t, suite, &data)
	for _, c := range data.Cases {
		t.Run(c.Name, func(t *testing.T) {
			world := &fake{Kind: kind, c: c, text: c.Config, state: data.Environment.State, running: c.Fakes.Running}
			world.snapshots, world.deletes, world.rollbacks = map[string]string{}, map[string]string{}, map[string]string{}
			s := &guest.Snapshots{
				Kind: kind.Kind, ID: c.VMID, Store: world, Guest: world,
				Now: func() time.Time { return time.Unix(data.Environment.SnapTime, 0) },
			}
			if kind.State {
				s.Guest = stateful{world}
			}
			c.check(t, world, c.do(t.Context(), s))
		})
	}
}

func (c *Case) do(ctx context.Context, s *guest.Snapshots) (err error) {
	switch c.Op {
	case "prepare":
		_, err = s.Prepare(ctx, c.SnapName, c.Description, c.VMState)
	case "commit":
		err = s.Commit(ctx, c.SnapName)
	case "create":
		err = s.Create(ctx, c.SnapName, c.Description, c.VMState)
	case "delete":
		err = s.Delete(ctx, c.SnapName, c.Force)
	case "rollback":
		err = s.Rollback(ctx, c.SnapName)
	default:
		err = fmt.Errorf("unknown operation %s", c.Op)
	}
	return err
}

func (c *Case) check(t *testing.T, w *fake, err error) {
	t.Helper()
	var got *string
	if err != nil {
		got = new(err.Error() + "\n")
	}
	if diff := cmp.Diff(c.Expected.Error, got); diff != "" {
		t.Errorf("error: %s", diff)
	}
	if diff := cmp.Diff(strings.TrimRight(c.Expected.Config, "\n"), strings.TrimRight(w.text, "\n")); diff != "" {
		t.Errorf("config: %s", diff)
	}
	for _, calls := range []struct {
		what      string
		want, got map[string]string
	}{
		{"snapshots", c.Expected.Snapshots, w.snapshots},
		{"deletes", c.Expected.Deletes, w.deletes},
		{"rollbacks", c.Expected.Rollbacks, w.rollbacks},
	} {
		if diff := cmp.Diff(calls.want, calls.got); calls.want != nil && diff != "" {
			t.Errorf("%s: %s", calls.what, diff)
		}
	}
}

// fake is a guest, its configuration and its volumes.
type fake struct {
	Kind
	c       *Case
	text    string
	state   schema.Params
	running bool

	snapshots, deletes, rollbacks map[string]string
}

func (f *fake) Load(context.Context) (*config.Doc, error) { return f.Read(f.c.VMID, []byte(f.text)) }

func (f *fake) Save(_ context.Context, doc *config.Doc) error {
	text, err := f.Write(doc)
	f.text = string(text)
	return err
}

func (f *fake) Locked(ctx context.Context, do func(context.Context) error) error { return do(ctx) }

func (f *fake) Volumes(values schema.Params) []guest.Volume { return f.Kind.Volumes(values) }

func (f *fake) CanSnapshot(context.Context, *config.Doc, string) (bool, error) {
	return f.c.Fakes.SnapshotPossible, nil
}

func (f *fake) Activate(context.Context, schema.Params, bool) error {
	if !f.c.Fakes.ActivatePossible {
		return errors.New("storage activation failed")
	}
	return nil
}

func (f *fake) Begin(_ context.Context, doc *config.Doc, snap schema.Params) (func(context.Context), error) {
	if !f.running {
		return nil, nil
	}
	return func(context.Context) {}, f.Kind.Begin(f.c, doc, snap)
}

// call notes that a volume was given to a call, where that is allowed.
func call(allowed map[string]bool, calls map[string]string, v guest.Volume, name, refusal string) error {
	if !allowed[v.ID] {
		return errors.New(refusal)
	}
	if calls[v.ID] != "" {
		name = calls[v.ID] + "," + name
	}
	calls[v.ID] = name
	return nil
}

func (f *fake) SnapshotVolume(_ context.Context, v guest.Volume, name string) error {
	return call(f.c.Fakes.Snapshot, f.snapshots, v, name, "volume snapshot disabled")
}

func (f *fake) DeleteVolumeSnapshot(_ context.Context, v guest.Volume, name string) error {
	return call(f.c.Fakes.Delete, f.deletes, v, name, "volume snapshot delete disabled")
}

func (f *fake) CheckRollback(_ context.Context, v guest.Volume, _ string) error {
	if !f.c.Fakes.CanRollback[v.ID] {
		return errors.New("volume_rollback_is_possible failed")
	}
	return nil
}

func (f *fake) RollbackVolume(_ context.Context, v guest.Volume, name string) error {
	return call(f.c.Fakes.Rollback, f.rollbacks, v, name, "volume snapshot rollback disabled")
}

func (f *fake) Running(context.Context) (bool, error) { return f.running, nil }

func (f *fake) Stop(context.Context) error {
	if f.c.Fakes.StopPossible || f.c.Fakes.KillPossible {
		f.running = false
	}
	return nil
}

func (f *fake) RolledBack(old, now *config.Doc, snap schema.Params) error {
	f.Kind.RolledBack(old, now, snap)
	return nil
}

// stateful is a guest whose state can be saved.
type stateful struct{ *fake }

func (f stateful) SaveState(_ context.Context, _ *config.Doc, snap schema.Params, _ string) error {
	if !f.c.Fakes.SaveWorks {
		return errors.New("save_vmstate failed")
	}
	for key, value := range f.state {
		snap[key] = value
	}
	return nil
}

func (f stateful) RemoveState(context.Context, schema.Params) error { return nil }

func (f stateful) Resume(context.Context, *config.Doc, schema.Params) error {
	f.running = true
	return nil
}
