package qemu

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// Load reads the configuration of a VM of our node. What is wrong in the file is left out,
// and the user is told.
func Load(ctx context.Context, c *cluster.Client, vmid id.VM) (*config.Doc, error) {
	text, err := c.ReadGuest(ctx, cluster.VM, vmid)
	if err != nil {
		return nil, err
	}
	return ReadDoc(vmid, text, false, func(fault string) { fmt.Fprintln(api.StreamsOf(ctx).Err, fault) })
}

// Save writes the configuration of a VM of our node.
func Save(ctx context.Context, c *cluster.Client, vmid id.VM, doc *config.Doc) error {
	text, err := WriteDoc(doc)
	if err != nil {
		return err
	}
	return c.WriteGuest(ctx, cluster.VM, vmid, text)
}
