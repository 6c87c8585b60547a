package lvm_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/lvm"
)

type step struct {
	Op   string
	Args struct {
		Volid, Snapshot, Storeid string
		Feature, Content         string
		LV                       string `json:"lv"`
	}
	Expect struct {
		Error  bool
		OK     bool
		Size   int64
		Result json.RawMessage
		Path   string
		VMID   string
		Vtype  string
	}
}

// TestConformanceLVM plays upstream's scenarios on a real volume group.
func TestConformanceLVM(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name  string
			Input struct{ Steps []step }
		}
	}
	conformance.Load(t, "cluster/storage-lvm-scenarios", &suite)
	lvmtest.Group(t, "")
	// The suite's group has a name that its cases compare with.
	lvmtest.Run(t, "vgrename", "-q", lvmtest.VG, "regressiontest")
	t.Cleanup(func() { lvmtest.Run(t, "vgrename", "-q", "regressiontest", lvmtest.VG) })
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			lvmtest.Run(t, "lvremove", "-q", "-f", "regressiontest")
			lvmtest.Run(t, "lvcreate", "-q", "-y", "-L", "1g", "-n", "vm-102-disk-1", "regressiontest")
			w := lvmtest.New(t, run.Host{}, "lvm: lvmregression\n\tvgname regressiontest\n\tcontent images,rootdir\n", lvm.Type())
			w.OK(t, w.ActivateVolumes(w.Ctx, "", id.Volume{Storage: "lvmregression", Name: "vm-102-disk-1"}))
			for i, s := range c.Input.Steps {
				if err := play(w, s); err != nil {
					t.Errorf("step %d, %s: %v", i, s.Op, err)
				}
			}
		})
	}
}

func play(w *lvmtest.World, s step) error {
	v, _ := id.ParseVolume(s.Args.Volid)
	storeid := id.Storage(s.Args.Storeid)
	same := func(got, want any) error {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	}
	var err error
	switch s.Op {
	case "volume_size_info":
		info, err := w.Info(w.Ctx, v)
		if err != nil {
			return err
		}
		return same(info.Size, s.Expect.Size)
	case "volume_has_feature":
		has, err := w.Has(w.Ctx, storage.Feature(s.Args.Feature), v, s.Args.Snapshot)
		if err != nil {
			return err
		}
		return same(has, string(s.Expect.Result))
	case "volume_rollback_is_possible":
		err = w.CanRollback(w.Ctx, v, s.Args.Snapshot)
	case "vdisk_free":
		err = w.Free(w.Ctx, v)
	case "lv exists":
		_, missing := w.Info(w.Ctx, id.Volume{Storage: "lvmregression", Name: "vm-102-disk-1"})
		return same(missing == nil, string(s.Expect.Result))
	case "template_list":
		list, err := w.List(w.Ctx, storeid, storage.Filter{Content: []storage.Content{storage.Content(s.Args.Content)}})
		if err != nil {
			return err
		}
		return same(len(list), 0)
	case "activate_storage":
		err = w.Activate(w.Ctx, storeid)
	case "deactivate_storage":
		p, e := w.Pool(w.Ctx, storeid)
		if err = e; err == nil {
			err = p.Deactivate(w.Ctx)
		}
	case "path":
		path, err := w.Path(w.Ctx, v, "")
		if err != nil {
			return err
		}
		n, err := w.Parse(w.Ctx, v)
		if err != nil {
			return err
		}
		return same([]any{path, n.Guest, n.Content}, []any{s.Expect.Path, s.Expect.VMID, s.Expect.Vtype})
	default:
		return fmt.Errorf("unknown operation")
	}
	return same(err != nil, s.Expect.Error)
}
