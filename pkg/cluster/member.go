package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// Members is what the cluster says about itself.
type Members struct {
	Name    string // empty on a node that stands alone
	Version int
	Quorate bool
	Nodes   []Member // by name
}

// A Member is a node of the cluster.
type Member struct {
	Name   id.Node
	ID     int
	Online bool
	IP     string
}

// Members tells which nodes there are. A node that stands alone is its own cluster.
func (c *Client) Members(context.Context) (Members, error) {
	alone := Members{Quorate: true, Nodes: []Member{{Name: c.Node, Online: true}}}
	raw, err := file.Read(c.Path(".members"), fileLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return alone, nil
	}
	if err != nil {
		return Members{}, err
	}
	var wire struct {
		Cluster *struct {
			Name             string
			Version, Quorate int
		}
		NodeList map[id.Node]struct {
			ID, Online int
			IP         string
		}
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return Members{}, fmt.Errorf("read %s: %w", c.Path(".members"), err)
	}
	if wire.Cluster == nil || len(wire.NodeList) == 0 {
		return alone, nil
	}
	m := Members{Name: wire.Cluster.Name, Version: wire.Cluster.Version, Quorate: wire.Cluster.Quorate != 0}
	for name, n := range wire.NodeList {
		m.Nodes = append(m.Nodes, Member{Name: name, ID: n.ID, Online: n.Online != 0, IP: n.IP})
	}
	slices.SortFunc(m.Nodes, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return m, nil
}

// Find returns the node of the given name.
func (m Members) Find(name id.Node) (Member, bool) {
	i := slices.IndexFunc(m.Nodes, func(n Member) bool { return n.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return m.Nodes[i], true
}

// CheckNode returns an error where the cluster has no such node.
func (c *Client) CheckNode(ctx context.Context, name id.Node) error {
	m, err := c.Members(ctx)
	if err != nil {
		return err
	}
	if _, ok := m.Find(name); !ok {
		return fmt.Errorf("no such cluster node '%s'", name)
	}
	return nil
}
