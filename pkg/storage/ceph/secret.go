package ceph

import (
	"context"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/ceph/conf"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// adminKeyring is where the key of the cluster that is managed here lies, among the
// secrets.
const adminKeyring = "ceph.client.admin.keyring"

// Added keeps the key of a new storage: the one that was given, or that of the
// administrator of the cluster managed here.
func (a *Access) Added(ctx context.Context, secrets map[string]string) error {
	given, ok := secrets["keyring"]
	if !ok && file.Exists(a.path(a.extension())) {
		a.kept = true
		return fmt.Errorf("ceph authx keyring file for storage '%s' already exists!", a.env.ID)
	}
	if ok {
		if err := a.keep(ctx, given); err != nil {
			return err
		}
		return a.Configure(ctx)
	}
	text, err := a.env.Secrets.Read(ctx, adminKeyring)
	if err != nil {
		return fmt.Errorf("failed to copy ceph authx %s for storage '%s': %w", strings.TrimPrefix(a.extension(), "."), a.env.ID, err)
	}
	if text == nil {
		fmt.Fprintf(api.StreamsOf(ctx).Err, "%s not found, authentication is disabled.\n", a.env.Secrets.Path(adminKeyring))
		return nil
	}
	key := string(text)
	if a.kind == CephFS {
		if key = keyOf(key, "admin"); key == "" {
			return fmt.Errorf("failed to copy ceph authx secret for storage '%s': no key of client.admin in %s", a.env.ID, a.env.Secrets.Path(adminKeyring))
		}
	}
	if err := a.keep(ctx, key); err != nil {
		return err
	}
	return a.Configure(ctx)
}

// keep writes the key. Where a bare key is wanted and a keyring is given, it is the key of
// our client in it.
func (a *Access) keep(ctx context.Context, text string) error {
	if a.kind == CephFS && strings.Contains(text, "[") {
		if key := keyOf(text, a.User); key != "" {
			text = key
		}
	}
	return a.write(ctx, a.extension(), strings.TrimSuffix(text, "\n")+"\n")
}

// keyOf returns the key of a client in a keyring.
func keyOf(keyring, user string) string {
	c, _ := conf.Parse(keyring)
	return c.Get("client."+user, "key")
}

func (a *Access) write(ctx context.Context, extension, text string) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("write %s", a.path(extension))
		return nil
	}
	return a.env.Secrets.Write(ctx, a.secret(extension), []byte(text))
}

func (a *Access) remove(ctx context.Context, extension string) error {
	if !file.Exists(a.path(extension)) {
		return nil
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("rm %s", a.path(extension))
		return nil
	}
	return a.env.Secrets.Remove(ctx, a.secret(extension))
}

// Configure makes the configuration of a cluster elsewhere, where it is missing: QEMU
// takes the path of a key from nowhere else.
func (a *Access) Configure(ctx context.Context) error {
	if a.kind != RBD || a.Managed() || a.Config() != "" || a.Key() == "" {
		return nil
	}
	c := conf.Conf{"global": {"keyring": a.Key()}}
	return a.write(ctx, ".conf", c.String())
}

// Changed keeps a new key, or forgets it.
func (a *Access) Changed(ctx context.Context, secrets map[string]*string) error {
	key, ok := secrets["keyring"]
	switch {
	case !ok:
		return nil
	case key == nil:
		return a.remove(ctx, a.extension())
	}
	return a.keep(ctx, *key)
}

// Removed forgets the key and the configuration.
func (a *Access) Removed(ctx context.Context) error {
	if a.kept {
		return nil
	}
	err := a.remove(ctx, a.extension())
	if a.kind == RBD {
		if e := a.remove(ctx, ".conf"); err == nil {
			err = e
		}
	}
	return err
}
