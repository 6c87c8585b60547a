package cmdline

import "github.com/virtsmith/virtsmith/pkg/qemu"

// DriveNodes returns the block nodes of a drive below the node that its device sits
// on, as blockdev-add takes them: for a QEMU that is to copy into them, and may go on
// with them in place of those it has.
func DriveNodes(vm VM, host Host, d qemu.Drive) (map[string]any, error) {
	c, err := newComposer(&vm, &host)
	if err != nil {
		return nil, err
	}
	d.SCSIBlock = nil
	tree, err := c.blockdev(d, blockOptions{})
	if err != nil {
		return nil, err
	}
	format, _ := tree["file"].(node)
	return format, nil
}
