package cmdline

import (
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// VirtioFS is a folder of the host that a helper shares with the guest.
type VirtioFS struct {
	Socket  string
	Path    string
	Options qemu.VirtioFS
}

// virtiofs adds shared folders.
func (c *composer) virtiofs() error {
	for n := range 10 {
		fs, ok := c.conf.VirtioFS[n]
		if !ok {
			continue
		}
		if flag(fs.ExposeACL, false) && c.windows > 0 {
			return errors.New("Please disable ACLs for virtiofs on Windows VMs, otherwise the virtiofs shared directory cannot be mounted.")
		}
		if c.host.DirMapping == nil {
			return fmt.Errorf("directory mapping invalid: '%s' does not exist", fs.DirID)
		}
		path, err := c.host.DirMapping(fs.DirID)
		if err != nil {
			return fmt.Errorf("directory mapping invalid: %w", err)
		}
		id := fmt.Sprintf("virtiofs%d", n)
		socket := c.host.Paths.VirtioFS(n)
		c.add("-chardev", option("socket", "id", id, "path", socket))
		c.device("vhost-user-fs-pci", "queue-size", "1024", "chardev", id, "tag", fs.DirID)
		c.out.VirtioFS = append(c.out.VirtioFS, VirtioFS{Socket: socket, Path: path, Options: fs})
	}
	return nil
}
