package power

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// cpuModel returns what a CPU model of the cluster's own sets.
func (s *Service) cpuModel(ctx context.Context, name string) (qemu.CPU, bool) {
	text, err := s.Cluster.ReadOptional(ctx, cluster.CPUModelFile)
	if err != nil {
		api.Warnf(ctx, "%v", err) // the model is not found, then
		return qemu.CPU{}, false
	}
	m, ok := qemu.ParseCustomCPUModels(cluster.CPUModelFile, text, func(fault string) { api.Warnf(ctx, "%s", fault) })[name]
	return m, ok
}
