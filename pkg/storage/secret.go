package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/file"
)

// SecretDir keeps secrets in a folder of the host. On a node they belong below
// /etc/pve/priv, which package cluster writes.
type SecretDir string

// mostSecret bounds the size of a secret.
const mostSecret = 1 << 20

// Path implements [Secrets].
func (d SecretDir) Path(name string) string { return filepath.Join(string(d), name) }

// Read implements [Secrets].
func (d SecretDir) Read(_ context.Context, name string) ([]byte, error) {
	return file.ReadOptional(d.Path(name), mostSecret)
}

// Write implements [Secrets].
func (d SecretDir) Write(_ context.Context, name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(d.Path(name)), 0o700); err != nil {
		return err
	}
	return file.Write(d.Path(name), data, 0o600)
}

// Remove implements [Secrets].
func (d SecretDir) Remove(_ context.Context, name string) error {
	if err := os.Remove(d.Path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// noSecrets is for services that were given no place for them.
type noSecrets struct{}

var errNoSecrets = errors.New("no place for secrets")

func (noSecrets) Path(string) string                           { return "" }
func (noSecrets) Read(context.Context, string) ([]byte, error) { return nil, nil }
func (noSecrets) Write(context.Context, string, []byte) error  { return errNoSecrets }
func (noSecrets) Remove(context.Context, string) error         { return nil }
