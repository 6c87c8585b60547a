package power

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
)

// The ports that SPICE servers listen on.
const (
	firstSpicePort = 61000
	spicePorts     = 1000
)

// spice says where the SPICE server of a VM listens: with the certificates of the node
// on a port, as Proxmox VE has it, else on a socket beside the others of the VM.
func (s *Service) spice(vmid id.VM) (cmdline.Spice, error) {
	etc := filepath.Join(s.Root, "etc/pve")
	own := filepath.Join(etc, "nodes", string(s.Node))
	server := cmdline.Spice{
		Address: "localhost", KeyFile: filepath.Join(own, "pve-ssl.key"),
		Cert: filepath.Join(own, "pve-ssl.pem"), CACert: filepath.Join(etc, "pve-root-ca.pem"),
	}
	for _, path := range []string{server.KeyFile, server.Cert, server.CACert} {
		switch _, err := os.Stat(path); {
		case errors.Is(err, fs.ErrNotExist):
			return cmdline.Spice{}, nil
		case err != nil:
			return cmdline.Spice{}, err
		}
	}
	var err error
	server.Port, err = freeSpicePort(vmid)
	return server, err
}

// freeSpicePort finds a port nobody listens on. Each VM begins its search somewhere
// else, so that two that start at once do not meet.
func freeSpicePort(vmid id.VM) (int, error) {
	for n := range spicePorts {
		port := firstSpicePort + (int(vmid)+n)%spicePorts
		if l, err := net.Listen("tcp", net.JoinHostPort("localhost", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no port between %d and %d is free for SPICE", firstSpicePort, firstSpicePort+spicePorts-1)
}
