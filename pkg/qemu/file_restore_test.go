package qemu_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/qemu"
)

func TestConformanceRestoreConfig(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Input, Output string
			Unique              bool
			Volumes             map[string]string `json:"volume_map"`
		}
	}
	conformance.Load(t, "guest/qemu-restore-config", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			r := qemu.Restore{Volumes: c.Volumes, Unique: c.Unique, NewUUID: func() string { return "new" }}
			got, err := r.Rewrite(c.Input)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.Output, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRestoreUnique(t *testing.T) {
	r := qemu.Restore{
		Unique:  true,
		NewUUID: func() string { return "22222222-2222-4333-8444-555555555555" },
		NewMAC:  func() (string, error) { return "BC:24:11:00:00:02", nil },
	}
	got, err := r.Rewrite("#note: x\nnet0: bridge=vmbr0,virtio=BC:24:11:00:00:01\nnet1: broken\nsmbios1: uuid=11111111-2222-4333-8444-555555555555,serial=x\nvmgenid: 11111111-2222-4333-8444-555555555555\nscsi0: broken,x\n")
	if err != nil {
		t.Fatal(err)
	}
	want := "#note: x\nnet0: virtio=BC:24:11:00:00:02,bridge=vmbr0\nnet1: broken\nsmbios1: serial=x,uuid=22222222-2222-4333-8444-555555555555\nvmgenid: 22222222-2222-4333-8444-555555555555\nscsi0: broken,x\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
