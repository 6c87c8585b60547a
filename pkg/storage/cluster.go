package storage

import (
	"context"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// clusterPatience is how long other nodes may hold a shared storage's lock.
const clusterPatience = 60 * time.Second

// WithCluster completes o with what a cluster knows: storage.cfg, locks that all nodes
// share, and the kinds of guests.
func (o Options) WithCluster(c *cluster.Client) Options {
	o.Root = c.Root()
	o.Config = func(ctx context.Context) (string, error) {
		text, err := c.ReadOptional(ctx, "storage.cfg")
		return string(text), err
	}
	o.Lock = func(ctx context.Context, name string, fn func(context.Context) error) error {
		return c.WithLock(ctx, name, file.LockOptions{Patience: clusterPatience, What: name}, fn)
	}
	o.Guests = func(ctx context.Context) (map[id.VM]string, error) {
		guests, err := c.Guests(ctx)
		kinds := make(map[id.VM]string, len(guests))
		for _, g := range guests {
			kinds[g.ID] = string(g.Kind)
		}
		return kinds, err
	}
	return o
}
