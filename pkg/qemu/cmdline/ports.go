package cmdline

import (
	"errors"
	"fmt"
	"strings"
)

// ports adds serial and parallel ports.
func (c *composer) ports() error {
	for n := range 4 {
		path, ok := c.conf.Serial[n]
		if !ok || path == "" {
			continue
		}
		if err := c.serialPort(n, path); err != nil {
			return err
		}
	}
	for n := range 3 {
		path, ok := c.conf.Parallel[n]
		if !ok || path == "" {
			continue
		}
		if c.host.IsChar != nil && !c.host.IsChar(path) {
			return errors.New("no such parallel device")
		}
		kind := "parallel"
		if strings.HasPrefix(path, "/dev/usb/lp") {
			kind = "serial"
		}
		id := fmt.Sprintf("parallel%d", n)
		c.add("-chardev", option(kind, "id", id, "path", path))
		c.device("isa-parallel", "chardev", id)
	}
	return nil
}

// serialPort adds serial port n: a socket, or a device of the host.
func (c *composer) serialPort(n int, path string) error {
	id := fmt.Sprintf("serial%d", n)
	switch {
	case path == "socket":
		c.add("-chardev", option("socket", "id", id, "path", c.host.Paths.Serial(n), "server", "on", "wait", "off"))
	case c.host.IsChar != nil && !c.host.IsChar(path):
		return errors.New("no such serial device")
	default:
		c.add("-chardev", option("serial", "id", id, "path", path))
	}
	if c.arch == "aarch64" && n == 0 { // the board has this one
		c.add("-serial", "chardev:"+id)
	} else {
		c.device("isa-serial", "chardev", id)
	}
	return nil
}
