package rbd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

// command returns a call of rbd for our pool.
func (p *pool) command(patience ceph.Patience, op ...string) run.Cmd {
	args := []string{"-p", p.name}
	if p.namespace != "" && op[0] != "unmap" {
		args = append(args, "--namespace", p.namespace)
	}
	args = append(args, p.Args()...)
	for i, o := range patience.Options() {
		if i%2 == 0 {
			o = "--" + o
		}
		args = append(args, o)
	}
	return run.Cmd{Path: "rbd", Args: append(args, op...), Grace: grace}
}

// grace is how long rbd may take to end.
const grace = 2 * time.Second

// change runs rbd. What says in upstream's words what failed when it does.
func (p *pool) change(ctx context.Context, patience ceph.Patience, what string, op ...string) error {
	return p.do(ctx, patience, what, p.command(patience, op...))
}

func (p *pool) do(ctx context.Context, patience ceph.Patience, what string, c run.Cmd) error {
	err := p.Run(ctx, c, patience)
	if err == nil {
		return nil
	}
	told := p.Failed(what, err)
	if (ceph.TimedOut(err) || ceph.NoQuota(err)) && ctx.Err() == nil && p.full(ctx) {
		return storage.Told(fmt.Sprintf("%s: pool '%s' is full: No space left on device", what, p.dataPool()), told)
	}
	return told
}

// Run of the access, and not that of the environment, which knows no patience.
func (p *pool) Run(ctx context.Context, c run.Cmd, patience ceph.Patience) error {
	return p.Access.Run(ctx, c, patience)
}

// full tells whether the pool has no space left: then the cluster lets those who write
// wait, and does not say why.
func (p *pool) full(ctx context.Context) bool {
	st, err := p.Status(ctx)
	return err == nil && st.Available == 0
}

// read runs rbd and reads what it prints into a value. It returns what it could read even
// of a command that failed.
func (p *pool) read(ctx context.Context, into any, op ...string) error {
	return p.readSlowly(ctx, ceph.Look, into, op...)
}

func (p *pool) readSlowly(ctx context.Context, patience ceph.Patience, into any, op ...string) error {
	c := p.command(patience, append(op, "--format", "json")...)
	c.ReadOnly = true
	var out bytes.Buffer
	c.Stdout = &out
	failed := p.Failed("rbd error", p.Run(ctx, c, patience))
	if out.Len() == 0 && failed != nil {
		return failed
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil && failed == nil {
		return fmt.Errorf("got unexpected data from rbd %s: %w", op[0], err)
	}
	return failed
}

// An image is what rbd tells of one.
type image struct {
	Name      string   `json:"name"`
	Size      int64    `json:"size"`
	Format    int      `json:"format"`
	Features  []string `json:"features"`
	Protected string   `json:"protected"` // of a snapshot: true or false
	Created   string   `json:"create_timestamp"`
	Parent    *parent  `json:"parent"`
}

// A parent is the state of an image that another is a clone of.
type parent struct {
	Pool      string `json:"pool"`
	Namespace string `json:"pool_namespace"`
	Image     string `json:"image"`
	Snapshot  string `json:"snapshot"`
}

func (p *parent) String() string {
	if p == nil {
		return ""
	}
	return p.Image + "@" + p.Snapshot
}

// look asks for an image, or a state of it. One that is not there is ErrNotExist.
func (p *pool) look(ctx context.Context, name, snap string) (image, error) {
	var i image
	op := []string{"info", name}
	if snap != "" {
		op = append(op, "--snap", snap)
	}
	err := p.read(ctx, &i, op...)
	if ceph.Missing(err) {
		// The same is said where the pool is not there, or a part of the image.
		names, listed := p.names(ctx)
		if listed == nil && (!names[name] || snap != "") {
			return i, storage.Told(fmt.Sprintf("rbd image '%s' does not exist", p.spec(name, snap)), errors.Join(storage.ErrNotExist, err))
		}
	}
	return i, err
}

// names lists the images of the pool.
func (p *pool) names(ctx context.Context) (map[string]bool, error) {
	var list []string
	if err := p.read(ctx, &list, "ls"); err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(list))
	for _, name := range list {
		names[name] = true
	}
	return names, nil
}
