package qemu_test

import (
	"errors"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/snapshotcase"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestConformanceSnapshot(t *testing.T) {
	snapshotcase.Run(t, "guest/qemu-snapshot", snapshotcase.Kind{
		Kind:    cluster.VM,
		Read:    func(vmid id.VM, text []byte) (*config.Doc, error) { return qemu.ReadDoc(vmid, text, true, nil) },
		Write:   qemu.WriteDoc,
		Volumes: qemu.SnapshotVolumes,
		State:   true,
		RolledBack: func(old, now *config.Doc, snap schema.Params) {
			qemu.RolledBack(old, now, snap, func() string { return "11111111-2222-4333-8444-555555555555" })
		},
		Begin: func(c *snapshotcase.Case, _ *config.Doc, _ schema.Params) error {
			if !c.Fakes.Monitor["savevm_start"] {
				return errors.New("savevm-start disabled")
			}
			return nil
		},
	})
}
