package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

type importRequest struct {
	AllowRename    *bool   `pve:"allow-rename" doc:"Take another name where the one that is wanted is taken." default:"0"`
	Base           *string `pve:"base" doc:"Snapshot that the stream builds on." pattern:"(?i:[a-z0-9_\\-]{1,40})" maxlen:"40"`
	DeleteSnapshot *string `pve:"delete-snapshot" doc:"Snapshot to remove when all is well." pattern:"(?i:[a-z0-9_\\-]{1,80})" maxlen:"80"`
	Filename       string  `pve:"filename" doc:"File to read; - is the standard input, tcp://ADDRESS waits for a sender."`
	Format         string  `pve:"format" doc:"Format of the stream." enum:"raw+size|tar+size|qcow2+size|vmdk+size|zfs|btrfs"`
	Snapshot       *string `pve:"snapshot" doc:"Snapshot that is the present state of the volume." pattern:"(?i:[a-z0-9_\\-]{1,40})" maxlen:"40"`
	Volume         string  `pve:"volume" doc:"Volume to make."`
	WithSnapshots  *bool   `pve:"with-snapshots" doc:"The stream has snapshots." default:"0"`
}

func (s *Service) importStream(ctx context.Context, req importRequest) (string, error) {
	source, done, err := open(ctx, req.Filename)
	if err != nil {
		return "", err
	}
	defer done()
	v, err := id.ParseVolume(req.Volume)
	if err != nil {
		return "", errors.New("cannot import into volume '" + req.Volume + "'")
	}
	st := storage.Stream{Format: req.Format, Snapshot: text(req.Snapshot), Base: text(req.Base), All: req.WithSnapshots != nil && *req.WithSnapshots}
	made, err := s.Storage.Import(ctx, source, v, st, req.AllowRename != nil && *req.AllowRename)
	if err != nil {
		return "", err
	}
	if req.DeleteSnapshot != nil {
		if err := s.Storage.DeleteSnapshot(ctx, made, *req.DeleteSnapshot, false); err != nil {
			return "", err
		}
	}
	return made.String(), nil
}

// open opens what an import reads. A file is given as such, so that programs can read it.
func open(ctx context.Context, name string) (source io.Reader, done func(), err error) {
	if name == "-" {
		in := api.StreamsOf(ctx).In
		if in == nil {
			return nil, nil, errors.New("there is no standard input to read from")
		}
		return in, func() {}, nil
	}
	var c io.ReadCloser
	if address, ok := strings.CutPrefix(name, "tcp://"); ok && address != "" && strings.Count(address, "/") < 2 {
		c, err = listenTCP(ctx, address)
	} else if path, ok := strings.CutPrefix(name, "unix://"); ok {
		c, err = listenUnix(ctx, path)
	} else if c, err = openPatiently(ctx, name, os.O_RDONLY); err != nil {
		err = asOpenError(name, err)
	}
	return c, func() { _ = c.Close() }, err
}

// The ports on which nodes wait for each other's volumes.
const (
	firstPort = 60000
	lastPort  = 60050
)

// listenTCP waits on an address of this node for the sender. Where it is in a network, as
// 10.0.0.0/24, it is the one address that the node has there.
func listenTCP(ctx context.Context, address string) (io.ReadCloser, error) {
	if strings.Contains(address, "/") {
		ip, err := localAddress(address)
		if err != nil {
			return nil, err
		}
		address = ip
	}
	for port := firstPort; port <= lastPort; port++ {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("failed to open socket: %w", err)
		}
		api.Printf(ctx, "%s\n%d\n", address, port) // the sender is told where to connect
		return accept(ctx, l)
	}
	return nil, fmt.Errorf("unable to find free port (%d-%d)", firstPort, lastPort)
}

func listenUnix(ctx context.Context, path string) (io.ReadCloser, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("failed to open socket: %w", err)
	}
	api.Printf(ctx, "ready\n")
	return accept(ctx, l)
}

// patience is how long a sender may take to come.
const patience = 30 * time.Second

// accept waits for one sender, and lets no other come.
func accept(ctx context.Context, l net.Listener) (io.ReadCloser, error) {
	defer l.Close() //nolint:errcheck // nobody else is to come
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("timed out waiting for client"))
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	conn, err := l.Accept()
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return conn, err
}

// localAddress returns the address that the node has in a network.
func localAddress(network string) (string, error) {
	prefix, err := netip.ParsePrefix(network)
	if err != nil {
		return "", fmt.Errorf("'%s' is no network: %w", network, err)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	var found []string
	for _, a := range all {
		if own, err := netip.ParsePrefix(a.String()); err == nil && prefix.Masked().Contains(own.Addr()) {
			found = append(found, own.Addr().String())
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("Unable to get any local IP address in network '%s'", network)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("Got multiple local IP address in network '%s'", network)
}
