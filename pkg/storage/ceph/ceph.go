// Package ceph is how a storage reaches its Ceph cluster: with which configuration,
// which monitors, as whom and with which key. The types rbd and cephfs share it.
//
// A storage without monitors in storage.cfg lies on the cluster that is managed with
// this one, whose ceph.conf is in /etc/pve. One with monitors lies elsewhere: its key and
// what else is to be said of it are files below /etc/pve/priv/ceph.
package ceph

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/ceph/conf"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Options are the options of storages on Ceph.
type Options struct {
	MonHost  *string `pve:"monhost" format:"pve-storage-portal-dns-list" doc:"Monitors of a cluster that is not managed here."`
	Username *string `pve:"username" doc:"Name of the client, without client. before it; admin without it."`
	Keyring  *string `pve:"keyring" secret:"1" doc:"Key of the client, for clusters that are not managed here."`
}

// A Kind is a type of storage, which decides the form of its key.
type Kind string

// The kinds: an rbd has a keyring, a cephfs the bare key.
const (
	RBD    Kind = "rbd"
	CephFS Kind = "cephfs"
)

// Access is how a storage reaches its cluster.
type Access struct {
	env      storage.Env
	kind     Kind
	monitors []conf.Monitor // of a cluster elsewhere; none for the one managed here
	User     string

	kept bool // a key that was there before is not ours to remove
}

// New returns the access of a storage.
func New(env storage.Env, kind Kind, o Options) *Access {
	a := &Access{env: env, kind: kind, User: "admin"}
	if o.Username != nil && *o.Username != "" {
		a.User = *o.Username
	}
	if o.MonHost != nil {
		for _, text := range schema.SplitList(*o.MonHost) {
			if m, ok := conf.ParseMonitor(text); ok {
				a.monitors = append(a.monitors, m)
			}
		}
	}
	return a
}

// Managed tells whether the cluster is the one managed here.
func (a *Access) Managed() bool { return len(a.monitors) == 0 }

// Given returns the monitors that storage.cfg names.
func (a *Access) Given() []conf.Monitor { return a.monitors }

// Hosts joins the monitors that storage.cfg names.
func (a *Access) Hosts(separator string) string {
	texts := make([]string, len(a.monitors))
	for i, m := range a.monitors {
		texts[i] = m.String()
	}
	return strings.Join(texts, separator)
}

// Config returns the path of the configuration of the cluster. It is empty for one
// elsewhere of which nothing more is said.
func (a *Access) Config() string {
	if a.Managed() {
		return filepath.Join(a.env.Root, "etc/pve/ceph.conf")
	}
	if path := a.path(".conf"); file.Exists(path) {
		return path
	}
	return ""
}

// Key returns the path of the file with the key; empty where there is none, and who
// connects need not say who he is.
func (a *Access) Key() string {
	if path := a.path(a.extension()); file.Exists(path) {
		return path
	}
	return ""
}

// Auth returns how the client shows who it is: cephx or none.
func (a *Access) Auth() string {
	if a.Key() == "" {
		return "none"
	}
	return "cephx"
}

func (a *Access) extension() string {
	if a.kind == CephFS {
		return ".secret"
	}
	return ".keyring"
}

// secret is the name of a file of the storage among the secrets.
func (a *Access) secret(extension string) string { return "ceph/" + string(a.env.ID) + extension }

func (a *Access) path(extension string) string { return a.env.Secrets.Path(a.secret(extension)) }

// Parsed reads the configuration of the cluster.
func (a *Access) Parsed() (conf.Conf, error) {
	path := a.Config()
	if path == "" {
		return conf.Conf{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, a.unmanaged(err)
	}
	c, _ := conf.Parse(string(text))
	return c, nil
}

func (a *Access) unmanaged(err error) error {
	if errors.Is(err, os.ErrNotExist) && a.Managed() {
		return fmt.Errorf("'%s' does not exist: no Ceph is managed here; monhost has to say where it is", a.Config())
	}
	return err
}

// How keys look: a keyring has sections, with a key in one of them.
var (
	keyring = regexp.MustCompile(`(?m)\s*\[\S+\]\s*key\s*=\s*\S+==\s*$`)
	bareKey = regexp.MustCompile(`\S+==\s*$`)
)

// Check fails when the cluster cannot be reached because of what is on this node: the
// configuration that is missing, a key that is none.
func (a *Access) Check() error {
	if a.Managed() {
		if _, err := os.Stat(a.Config()); err != nil {
			return a.unmanaged(err)
		}
	}
	path := a.Key()
	if path == "" {
		return nil
	}
	text, err := file.Read(path, mostKey)
	if err != nil {
		return err
	}
	form := keyring
	if a.kind == CephFS {
		form = bareKey
	}
	if !form.Match(text) {
		return fmt.Errorf("Not a proper %s authentication file: %s", a.kind, path)
	}
	return nil
}

// mostKey bounds the size of a key.
const mostKey = 1 << 20

// Patience says how long a command may take.
type Patience struct {
	Connect time.Duration // until the monitors have let us in
	Step    time.Duration // for one question to a monitor or an OSD
	All     time.Duration // for everything; 0 for no end, as there is much to do
}

// The patience with commands.
var (
	// Look is for commands that ask.
	Look = Patience{Connect: 5 * time.Second, Step: 8 * time.Second, All: 45 * time.Second}
	// Change is for commands that change what the cluster knows of an image.
	Change = Patience{Connect: 10 * time.Second, Step: 30 * time.Second, All: 5 * time.Minute}
	// Move is for commands that go through all the data of an image.
	Move = Patience{Connect: 10 * time.Second, Step: time.Minute}
)

func seconds(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }

// Options returns the options of the client library that make it as patient.
func (p Patience) Options() []string {
	return []string{
		"client_mount_timeout", seconds(p.Connect), "rados_mon_op_timeout", seconds(p.Step), "rados_osd_op_timeout", seconds(p.Step),
	}
}

// usual is where Ceph's programs look for a configuration.
const usual = "/etc/ceph/ceph.conf"

// Args returns the arguments that say to Ceph's programs where the cluster is and who we
// are.
func (a *Access) Args() []string {
	var args []string
	if c := a.Config(); c != "" {
		args = append(args, "-c", c)
	} else if !file.Exists(usual) {
		args = append(args, "-c", os.DevNull) // ceph does not start without any
	}
	if !a.Managed() {
		args = append(args, "-m", a.Hosts(","))
	}
	args = append(args, "--auth_supported", a.Auth(), "-n", "client."+a.User)
	if key := a.Key(); key != "" {
		form := "--keyring"
		if a.kind == CephFS {
			form = "--keyfile"
		}
		args = append(args, form, key)
	}
	return args
}

// Env is the environment in which messages can be read, and in which nobody else says
// where a cluster is.
func Env() []string { return []string{"LC_ALL=C", "CEPH_ARGS="} }

// Run runs a program of Ceph, in bounded time. What it changes is only told in a dry
// run.
func (a *Access) Run(ctx context.Context, c run.Cmd, p Patience) error {
	if err := a.Check(); err != nil {
		return err
	}
	c.Env = append(c.Env, Env()...)
	if p.All > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, p.All, fmt.Errorf("no answer of Ceph in %s", p.All))
		defer cancel()
	}
	return a.env.Run(ctx, c)
}

// Ask runs ceph and returns what it prints.
func (a *Access) Ask(ctx context.Context, args ...string) ([]byte, error) {
	return a.ask(ctx, Look, args...)
}

func (a *Access) ask(ctx context.Context, p Patience, args ...string) ([]byte, error) {
	all := append(a.Args(), "--connect-timeout", seconds(p.Connect))
	c := run.Cmd{Path: "ceph", Args: append(all, args...), ReadOnly: true, Grace: grace}
	var out strings.Builder
	c.Stdout = &out
	if err := a.Run(ctx, c, p); err != nil {
		return nil, a.Failed("ceph error", err)
	}
	return []byte(out.String()), nil
}

// grace is how long a program of Ceph may take to end; one that waits for an answer
// takes its time.
const grace = time.Second

// FSID returns the id of the cluster.
func (a *Access) FSID(ctx context.Context) (string, error) {
	if a.Managed() {
		c, err := a.Parsed()
		if err != nil {
			return "", err
		}
		if id := c.Get("global", "fsid"); id != "" {
			return id, nil
		}
	}
	out, err := a.ask(ctx, Change, "fsid") // to map and unmap is to change
	return strings.TrimSpace(string(out)), err
}
