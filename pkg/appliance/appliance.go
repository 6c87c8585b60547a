// Package appliance is what pveam does: it keeps the lists of container templates that
// servers offer, and loads templates onto storages.
//
// A server offers a list of its templates, signed. Update loads the lists, checks the
// signatures and keeps them below /var/lib/pve-manager/apl-info; everything else works on
// what is kept. A list comes from outside even so: what it says becomes paths and addresses,
// so every value is checked whenever a list is read.
package appliance

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

// A Service knows the templates that there are, and brings them to storages.
type Service struct {
	Root    string // stands before every path we own
	Runner  run.Runner
	Storage *storage.Service
	// Proxy returns the HTTP proxy of the cluster, empty where there is none. It may be nil.
	Proxy func(ctx context.Context) (string, error)
	// Now is the clock of the log; nil means that of the machine.
	Now func() time.Time
	// Client loads files; its proxy is set from Proxy.
	Client fetch.Client
}

// Where things are, below the root.
const (
	listDir = "var/lib/pve-manager/apl-info"
	logFile = "var/log/pveam.log"

	sourcesFile     = "etc/virtsmith/appliance-sources"
	ownKeyring      = "etc/virtsmith/appliance-keyring.gpg"
	upstreamKeyring = "usr/share/doc/pve-manager/trustedkeys.gpg"
)

// What went wrong, where callers branch on it.
var (
	// ErrUnknown is the error of a template that no list has.
	ErrUnknown = errors.New("no such template")
	// ErrSignature is the error of a list whose signature is not good.
	ErrSignature = errors.New("bad signature")
)

func (s *Service) path(name string) string { return filepath.Join(s.Root, name) }

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// client is what loads files, with the proxy of the cluster.
func (s *Service) client(ctx context.Context) (*fetch.Client, error) {
	c := s.Client
	if s.Proxy == nil {
		return &c, nil
	}
	proxy, err := s.Proxy(ctx)
	c.Proxy = proxy
	return &c, err
}
