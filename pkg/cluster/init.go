package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Init makes the folders and links that a node needs. What is there stays as it is. Only
// commands that change something call it: reading works in an empty tree.
func (c *Client) Init() error {
	if _, err := os.Lstat(c.Path("local")); err == nil {
		if _, err := os.Stat(c.NodePath("qemu-server")); err == nil {
			return nil
		}
	}
	node := "nodes/" + string(c.Node)
	for _, dir := range []string{node + "/qemu-server", node + "/lxc", node + "/priv", "priv", "priv/lock", "firewall", "ha", "mapping", "sdn", "virtual-guest"} {
		if err := c.mkdir(dir); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"local": node, "qemu-server": node + "/qemu-server", "lxc": node + "/lxc"} {
		// pmxcfs has these links by itself.
		if err := os.Symlink(to, c.Path(name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return readOnly(err)
		}
	}
	for _, dir := range []string{"dump", "images", "import", "private", "snippets", "template/cache", "template/iso"} {
		if err := os.MkdirAll(filepath.Join(c.root, "var/lib/vz", dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}
