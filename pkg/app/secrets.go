package app

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/cluster"
)

// secrets keeps those of storages below /etc/pve/priv.
type secrets struct{ cluster *cluster.Client }

func (s secrets) Path(name string) string { return s.cluster.Path("priv/" + name) }

func (s secrets) Read(ctx context.Context, name string) ([]byte, error) {
	return s.cluster.ReadOptional(ctx, "priv/"+name)
}

func (s secrets) Write(ctx context.Context, name string, data []byte) error {
	return s.cluster.WriteFile(ctx, "priv/"+name, data)
}

func (s secrets) Remove(ctx context.Context, name string) error {
	return s.cluster.Remove(ctx, "priv/"+name)
}
