package app

import (
	"context"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline/probe"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// power joins what turns VMs on and off.
func (a *App) power(runner run.Runner) *power.Service {
	prober := &probe.Prober{Runner: runner, Cache: filepath.Join(a.Root, "var/cache/virtsmith"), Look: run.Host{}.Look}
	return &power.Service{
		Host:   a.VMs,
		QEMU:   prober.QEMU,
		Net:    func() (power.Net, error) { return link.Open() },
		Groups: func() (*cgroup.Tree, error) { return cgroup.Open("/sys/fs/cgroup", "/proc") },
		ApplyPending: func(_ context.Context, _ id.VM, doc *config.Doc) error {
			doc.Values, doc.Pending = guest.Merged(doc), nil
			return nil
		},
	}
}
