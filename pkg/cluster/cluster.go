// Package cluster is the client side of /etc/pve: the one place that knows which
// files the cluster shares, where they are, and how they are locked.
//
// The tree may be a plain folder, as on a node that stands alone, or the mount of
// pmxcfs: what is done here holds for both. What the files mean belongs to those
// who own them; only what the cluster itself needs is read here.
package cluster

import (
	"path/filepath"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// A Client reads and changes the cluster's files on behalf of one node.
type Client struct {
	Node id.Node          // the node we are on
	Now  func() time.Time // the clock that patience is reckoned by

	root string
}

// New returns the client of the tree below root, for the given node. It touches
// nothing.
func New(root string, node id.Node) *Client {
	return &Client{Node: node, Now: time.Now, root: root}
}

// Root returns the folder that stands before every path we own.
func (c *Client) Root() string { return c.root }

// Path returns where a file of the cluster is; name is relative to /etc/pve.
func (c *Client) Path(name string) string { return filepath.Join(c.root, "etc/pve", name) }

// NodePath returns where a file that the cluster keeps for our node is.
func (c *Client) NodePath(name string) string {
	return c.Path(filepath.Join("nodes", string(c.Node), name))
}
