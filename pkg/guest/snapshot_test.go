package guest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/snapshotcase"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// The cases of containers show that nothing of VMs is in the steps of a snapshot. What a container
// has its own way is said here in as few words as the cases need.
func TestConformanceContainerSnapshot(t *testing.T) {
	dialect := &config.Dialect{Pending: "pve:pending", KeyChars: "_", Ends: true}
	snapshotcase.Run(t, "guest/lxc-snapshot", snapshotcase.Kind{
		Kind: cluster.Container,
		Read: func(vmid id.VM, text []byte) (*config.Doc, error) {
			return config.Parse(dialect, vmid, text, true, nil)
		},
		Write:      func(doc *config.Doc) ([]byte, error) { return doc.Bytes(dialect), nil },
		Volumes:    mountPoints,
		RolledBack: func(_, _ *config.Doc, _ schema.Params) {},
		Begin: func(c *snapshotcase.Case, _ *config.Doc, _ schema.Params) error {
			if !c.Fakes.FreezePossible {
				return errors.New("freeze disabled")
			}
			return nil
		},
	})
}

func mountPoints(values schema.Params) (volumes []guest.Volume) {
	for key, value := range values {
		if family, _, ok := schema.Member(key); key == "rootfs" || ok && family == "mp" {
			volume, _, _ := strings.Cut(value, ",")
			volumes = append(volumes, guest.Volume{Key: key, ID: volume})
		}
	}
	slices.SortFunc(volumes, func(a, b guest.Volume) int { return strings.Compare(b.Key, a.Key) })
	return volumes
}
