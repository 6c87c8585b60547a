package status

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// askMore asks for version, machine type, memory and disk traffic.
func (s *Status) askMore(ctx context.Context, m *qmp.Monitor) error {
	var version struct {
		QEMU struct{ Major, Minor, Micro int } `json:"qemu"`
	}
	if err := m.Call(ctx, "query-version", nil, &version); err != nil {
		return err
	}
	v := version.QEMU
	s.RunningQEMU = new(fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro))
	s.askMachine(ctx, m)
	s.askBalloon(ctx, m)
	return s.askDisks(ctx, m)
}

// askMachine asks for the machine type, which an alias such as q35 stands for.
func (s *Status) askMachine(ctx context.Context, m *qmp.Monitor) {
	var kind string
	if m.Call(ctx, "qom-get", map[string]string{"path": "/machine", "property": "type"}, &kind) != nil {
		return
	}
	const suffix = "-machine"
	if len(kind) > len(suffix) {
		s.RunningMachine = new(kind[:len(kind)-len(suffix)])
	}
}

// askBalloon asks the guest, through its balloon driver, how much memory it uses. One
// without the driver says nothing.
func (s *Status) askBalloon(ctx context.Context, m *qmp.Monitor) {
	var stats struct {
		Stats map[string]int64 `json:"stats"`
	}
	arg := map[string]string{"path": "/machine/peripheral/balloon0", "property": "guest-stats"}
	if m.Call(ctx, "qom-get", arg, &stats) != nil {
		return
	}
	total, free := stats.Stats["stat-total-memory"], stats.Stats["stat-available-memory"]
	if free <= 0 {
		free = stats.Stats["stat-free-memory"]
	}
	if total > 0 && free >= 0 {
		s.Mem = new(total - free)
	}
}

// askDisks adds up the traffic of all disks.
func (s *Status) askDisks(ctx context.Context, m *qmp.Monitor) error {
	var disks []struct {
		Stats struct {
			Read  int64 `json:"rd_bytes"`
			Write int64 `json:"wr_bytes"`
		}
	}
	if err := m.Call(ctx, "query-blockstats", nil, &disks); err != nil {
		return err
	}
	var read, written int64
	for _, d := range disks {
		read += d.Stats.Read
		written += d.Stats.Write
	}
	s.DiskRead, s.DiskWrite = &read, &written
	return nil
}
