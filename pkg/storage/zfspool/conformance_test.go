package zfspool_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

type step struct {
	Op   string `json:"op"`
	Args struct {
		Volid    string   `json:"volid"`
		Volids   []string `json:"volids"`
		Feature  string   `json:"feature"`
		Snapshot string   `json:"snapshot"`
		Dataset  string   `json:"dataset"`
		Property string   `json:"property"`
		VMID     id.VM    `json:"vmid,string"`
		Content  string   `json:"content"`
		Storeid  string   `json:"storeid"`
	} `json:"args"`
	Expect struct {
		Error    bool            `json:"error"`
		Size     int64           `json:"size"`
		Result   json.RawMessage `json:"result"`
		Value    int64           `json:"value"`
		Volid    string          `json:"volid"`
		Storeid  string          `json:"storeid"`
		Volname  string          `json:"volname"`
		Blockers []string        `json:"blockers"`
		Includes []string        `json:"includes"`
		Excludes []string        `json:"excludes"`
		Name     string          `json:"name"`
		VMID     string          `json:"vmid"`
		Basename *string         `json:"basename"`
		BaseVMID *string         `json:"basevmid"`
		IsBase   bool            `json:"is_base"`
		Format   string          `json:"format"`
		VType    string          `json:"vtype"`
	} `json:"expect"`
}

// prepare makes the volumes that all cases begin with.
func prepare(t *testing.T) *storage.Service {
	file := filepath.Join(t.TempDir(), "pool")
	command(t, "truncate", "-s", "12G", file)
	command(t, "zpool", "create", "-f", "-m", "/regressiontest_mnt", "regressiontest", file)
	t.Cleanup(func() { patiently(t, "zpool", "destroy", "-f", "regressiontest") })
	p := "regressiontest/"
	for _, c := range [][]string{
		{"create", "-V", "1G", p + "base-100-disk-0"},
		{"snapshot", p + "base-100-disk-0@__base__"},
		{"clone", p + "base-100-disk-0@__base__", p + "vm-101-disk-0"},
		{"create", "-V", "1G", p + "vm-102-disk-1"},
		{"create", "-o", "refquota=1G", p + "basevol-200-disk-0"},
		{"snapshot", p + "basevol-200-disk-0@__base__"},
		{"clone", "-o", "refquota=1G", p + "basevol-200-disk-0@__base__", p + "subvol-201-disk-0"},
		{"create", "-o", "refquota=1G", p + "subvol-202-disk-1"},
	} {
		command(t, "zfs", c...)
	}
	s := serve(t, run.Host{}, "zfspool: zfstank99\n\tpool regressiontest\n\tmountpoint /regressiontest_mnt\n\tcontent images,rootdir\n")
	for _, name := range []string{"base-100-disk-0", "base-100-disk-0/vm-101-disk-0", "vm-102-disk-1", "basevol-200-disk-0", "basevol-200-disk-0/subvol-201-disk-0", "subvol-202-disk-1"} {
		if err := s.ActivateVolumes(t.Context(), "", id.Volume{Storage: "zfstank99", Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestConformanceZFSPool(t *testing.T) {
	testnode.Need(t, "zfs")
	var suite struct {
		Cases []struct {
			Name  string `json:"name"`
			Input struct {
				Steps []step `json:"steps"`
			} `json:"input"`
		} `json:"cases"`
	}
	conformance.Load(t, "cluster/storage-zfspool-scenarios", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			s := prepare(t)
			for i, step := range c.Input.Steps {
				if err := play(t, s, step); err != nil {
					t.Errorf("step %d, %s %+v: %v", i, step.Op, step.Args, err)
				}
			}
		})
	}
}

// play does one step and says how what comes of it differs.
func play(t *testing.T, s *storage.Service, step step) error {
	ctx, a, want := t.Context(), step.Args, step.Expect
	v, _ := id.ParseVolume(a.Volid)
	failed := func(err error) error {
		if (err != nil) != want.Error {
			return fmt.Errorf("error %v, wanted: %v", err, want.Error)
		}
		return nil
	}
	same := func(want, got any) error {
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			return errors.New(diff)
		}
		return nil
	}
	truth := func(got bool) error { return same(string(want.Result), fmt.Sprint(got)) }
	switch step.Op {
	case "volume_size_info":
		info, err := s.Info(ctx, v)
		return errors.Join(err, same(want.Size, info.Size))
	case "volume_has_feature":
		has, err := s.Has(ctx, storage.Feature(a.Feature), v, a.Snapshot)
		return errors.Join(err, truth(has))
	case "volume_snapshot":
		return failed(s.Snapshot(ctx, v, a.Snapshot))
	case "volume_snapshot_delete":
		return failed(s.DeleteSnapshot(ctx, v, a.Snapshot, false))
	case "volume_rollback_is_possible":
		err := s.CanRollback(ctx, v, a.Snapshot)
		var blockers []string
		if e, ok := errors.AsType[*storage.BlockedError](err); ok {
			blockers = e.Blockers
		}
		return errors.Join(failed(err), same(want.Blockers, blockers))
	case "zfs exists":
		return truth(exec.Command("zfs", "list", "-H", "-t", "all", a.Dataset).Run() == nil)
	case "zfs snapshot":
		command(t, "zfs", "snapshot", a.Dataset)
		return nil
	case "zfs property":
		return same(fmt.Sprint(want.Value), command(t, "zfs", "get", "-Hp", "-o", "value", a.Property, a.Dataset))
	case "parse_volname":
		n, err := s.Parse(ctx, v)
		base, guest := "", ""
		if want.Basename != nil {
			base, guest = *want.Basename, *want.BaseVMID
		}
		baseGuest := ""
		if n.BaseGuest != 0 {
			baseGuest = n.BaseGuest.String()
		}
		return errors.Join(err, same([]any{want.VType, want.Name, want.VMID, base, guest, want.IsBase, want.Format},
			[]any{string(n.Content), n.File, n.Guest.String(), n.Base, baseGuest, n.IsBase, n.Format}))
	case "parse_volume_id":
		return same([]string{want.Storeid, want.Volname}, []string{string(v.Storage), v.Name})
	case "volume_is_base":
		n, err := s.Parse(ctx, v)
		return errors.Join(err, truth(n.IsBase))
	case "vdisk_clone":
		made, err := s.Clone(ctx, v, a.VMID, a.Snapshot)
		if err == nil {
			err = same(want.Volid, made.String())
			return err
		}
		return failed(err)
	case "template_list":
		list, err := s.List(ctx, id.Storage(a.Storeid), storage.Filter{Content: []storage.Content{storage.Content(a.Content)}})
		return errors.Join(err, same(0, len(list)))
	case "vdisk_list":
		return listed(t, s, a.VMID, a.Volids, want.Result)
	case "scan_zfs":
		found, err := zfspool.Scan(ctx, run.Host{})
		for _, name := range want.Includes {
			if !slices.ContainsFunc(found, func(f zfspool.Found) bool { return f.Pool == name }) {
				err = errors.Join(err, fmt.Errorf("%s was not found", name))
			}
		}
		for _, f := range found {
			if slices.ContainsFunc(want.Excludes, func(name string) bool { return strings.HasPrefix(f.Pool, name) }) || strings.Contains(f.Pool, "vol-") {
				err = errors.Join(err, fmt.Errorf("%s was found", f.Pool))
			}
		}
		return err
	}
	return fmt.Errorf("unknown step")
}

// listed compares the volumes of a guest.
func listed(t *testing.T, s *storage.Service, guest id.VM, volids []string, result json.RawMessage) error {
	type line struct {
		Format string  `json:"format"`
		Name   string  `json:"name"`
		Parent *string `json:"parent"`
		Size   int64   `json:"size"`
		VMID   string  `json:"vmid"`
		Volid  string  `json:"volid"`
	}
	var want map[string][]line
	if err := json.Unmarshal(result, &want); err != nil {
		return err
	}
	list, err := s.List(t.Context(), "zfstank99", storage.Filter{Content: []storage.Content{storage.Images}, Guest: guest})
	if err != nil {
		return err
	}
	var got []line
	for _, v := range list {
		volid := id.Volume{Storage: "zfstank99", Name: v.Name}
		if !slices.Contains(volids, volid.String()) {
			continue
		}
		n, err := s.Parse(t.Context(), volid)
		if err != nil {
			return err
		}
		l := line{Format: v.Format, Name: n.File, Size: v.Size, VMID: v.Guest.String(), Volid: volid.String()}
		if v.Parent != "" {
			l.Parent = new(v.Parent)
		}
		got = append(got, l)
	}
	if diff := cmp.Diff(want["zfstank99"], got); diff != "" {
		return errors.New(diff)
	}
	return nil
}
