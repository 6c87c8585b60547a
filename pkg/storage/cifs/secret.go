package cifs

import (
	"context"
	"errors"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
)

// secret names the file with the password, which mount.cifs reads itself.
func (p *pool) secret() string { return "storage/" + string(p.ID) + ".pw" }

// Added keeps the password.
func (p *pool) Added(ctx context.Context, secrets map[string]string) error {
	password, ok := secrets["password"]
	if !ok {
		return p.forget(ctx)
	}
	return p.keep(ctx, password)
}

// Changed keeps a new password or forgets it.
func (p *pool) Changed(ctx context.Context, secrets map[string]*string) error {
	switch password, ok := secrets["password"]; {
	case !ok:
		return nil
	case password == nil:
		return p.forget(ctx)
	default:
		return p.keep(ctx, *password)
	}
}

// Removed forgets the password.
func (p *pool) Removed(ctx context.Context) error { return p.forget(ctx) }

func (p *pool) keep(ctx context.Context, password string) error {
	if strings.ContainsAny(password, "\n\r\x00") {
		return errors.New("password: it must be one line")
	}
	if p.config.Username == nil {
		api.Warnf(ctx, "storage %s: ignoring password parameter, no user set", p.ID)
	}
	return p.Secrets.Write(ctx, p.secret(), []byte("password="+password+"\n"))
}

func (p *pool) forget(ctx context.Context) error { return p.Secrets.Remove(ctx, p.secret()) }
