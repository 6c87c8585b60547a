package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// Kind is the kind of a guest, in the word that paths of the API have.
type Kind string

// The kinds of guests.
const (
	VM        Kind = "qemu"
	Container Kind = "lxc"
)

// Short is how messages and volume names call the kind: VM or CT.
func (k Kind) Short() string {
	if k == Container {
		return "CT"
	}
	return "VM"
}

// folder is where the configuration of guests of the kind lies, below that of a node.
func (k Kind) folder() string {
	if k == Container {
		return "lxc"
	}
	return "qemu-server"
}

// A Guest says that a guest is there, and where.
type Guest struct {
	ID   id.VM
	Node id.Node
	Kind Kind
}

// file is the name of the guest's configuration file.
func (g Guest) file() string { return GuestFile(g.Node, g.Kind, g.ID) }

// GuestFile names the configuration file of a guest, relative to /etc/pve.
func GuestFile(node id.Node, kind Kind, vmid id.VM) string {
	return "nodes/" + string(node) + "/" + kind.folder() + "/" + vmid.String() + ".conf"
}

// ErrNoGuest is the error of a guest that is not there.
var ErrNoGuest = errors.New("no such guest")

// NoConfigError says that a guest has no configuration file on a node. It is
// [ErrNoGuest].
type NoConfigError struct{ File string }

func (e *NoConfigError) Error() string {
	return fmt.Sprintf("Configuration file '%s' does not exist", e.File)
}

// Is makes the error one of the absence of a guest, and of a file.
func (e *NoConfigError) Is(target error) bool {
	return target == ErrNoGuest || target == fs.ErrNotExist
}

// TakenError says that the number of a guest is in use.
type TakenError struct{ Guest Guest }

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s %s already exists on node '%s'", e.Guest.Kind.Short(), e.Guest.ID, e.Guest.Node)
}

// ReadGuest returns the text of the configuration file of a guest of our node.
func (c *Client) ReadGuest(ctx context.Context, kind Kind, vmid id.VM) ([]byte, error) {
	return c.ReadGuestOn(ctx, c.Node, kind, vmid)
}

// ReadGuestOn is [Client.ReadGuest] for any node.
func (c *Client) ReadGuestOn(ctx context.Context, node id.Node, kind Kind, vmid id.VM) ([]byte, error) {
	name := GuestFile(node, kind, vmid)
	b, err := c.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoConfigError{File: name}
	}
	return b, err
}

// WriteGuest replaces the configuration file of a guest of our node, whose lock the
// caller holds.
func (c *Client) WriteGuest(ctx context.Context, kind Kind, vmid id.VM, text []byte) error {
	c.cleanGuest(ctx, kind, vmid)
	return c.WriteFile(ctx, GuestFile(c.Node, kind, vmid), text)
}

// CheckChangeable returns why the configuration file of a guest of our node cannot be
// changed now. It is for those that do before what cannot be undone. The caller holds
// the guest's lock. A full disk is no reason: what is to be done may make room.
func (c *Client) CheckChangeable(ctx context.Context, kind Kind, vmid id.VM) error {
	if plan.From(ctx) != nil {
		return nil
	}
	c.cleanGuest(ctx, kind, vmid)
	err := file.CheckWritable(c.Path(GuestFile(c.Node, kind, vmid)))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	return readOnly(err)
}

// cleanGuest removes what commands that were killed while they wrote the guest's file
// have left beside it. Under the guest's lock nobody writes there.
func (c *Client) cleanGuest(ctx context.Context, kind Kind, vmid id.VM) {
	if plan.From(ctx) == nil {
		_ = file.CleanTemps(c.Path(GuestFile(c.Node, kind, vmid))) // they are in nobody's way
	}
}

// RemoveGuest removes the configuration file of a guest of our node, whose lock the
// caller holds, and its firewall rules.
func (c *Client) RemoveGuest(ctx context.Context, kind Kind, vmid id.VM) error {
	c.cleanGuest(ctx, kind, vmid)
	if err := c.Remove(ctx, FirewallFile(vmid)); err != nil {
		return err
	}
	return c.Remove(ctx, GuestFile(c.Node, kind, vmid))
}

// MoveGuest gives a guest of our node to another one.
func (c *Client) MoveGuest(ctx context.Context, kind Kind, vmid id.VM, to id.Node) error {
	return c.Rename(ctx, GuestFile(c.Node, kind, vmid), GuestFile(to, kind, vmid))
}

// FirewallFile names the file of a guest's firewall rules.
func FirewallFile(vmid id.VM) string { return "firewall/" + vmid.String() + ".fw" }

// Guests lists the guests of the whole cluster by number. It reads folders, not
// files.
func (c *Client) Guests(ctx context.Context) ([]Guest, error) {
	nodes, err := c.nodeFolders()
	if err != nil {
		return nil, err
	}
	var all []Guest
	for _, node := range nodes {
		for _, kind := range []Kind{VM, Container} {
			if all, err = c.appendGuests(all, node, kind); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(all, func(a, b Guest) int { return cmp.Compare(a.ID, b.ID) })
	return all, ctx.Err()
}

// LocalGuests lists the guests of one kind on our node by number.
func (c *Client) LocalGuests(ctx context.Context, kind Kind) ([]Guest, error) {
	guests, err := c.appendGuests(nil, c.Node, kind)
	slices.SortFunc(guests, func(a, b Guest) int { return cmp.Compare(a.ID, b.ID) })
	return guests, errors.Join(err, ctx.Err())
}

func (c *Client) appendGuests(all []Guest, node id.Node, kind Kind) ([]Guest, error) {
	names, err := names(c.Path("nodes/" + string(node) + "/" + kind.folder()))
	if err != nil {
		return nil, err
	}
	all = slices.Grow(all, len(names))
	for _, name := range names {
		if number, ok := strings.CutSuffix(name, ".conf"); ok {
			if vmid, err := ParseVM(number); err == nil {
				all = append(all, Guest{ID: vmid, Node: node, Kind: kind})
			}
		}
	}
	return all, nil
}

// ParseVM reads the number of a guest.
func ParseVM(text string) (id.VM, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n < 100 || n > 999999999 || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%q is not the number of a guest", text)
	}
	return id.VM(n), nil
}

// names lists a folder, which may be absent.
func names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return f.Readdirnames(-1)
}

// Find looks a guest up in the whole cluster. The error is [ErrNoGuest] where there is
// none.
func (c *Client) Find(ctx context.Context, vmid id.VM) (Guest, error) {
	nodes, err := c.nodeFolders()
	if err != nil {
		return Guest{}, err
	}
	for _, node := range slices.Insert(nodes, 0, c.Node) {
		for _, kind := range []Kind{VM, Container} {
			if g := (Guest{ID: vmid, Node: node, Kind: kind}); c.Exists(ctx, g.file()) {
				return g, nil
			}
		}
	}
	return Guest{}, fmt.Errorf("guest %s: %w", vmid, ErrNoGuest)
}

// CheckFree returns a [*TakenError] where the number is in use.
func (c *Client) CheckFree(ctx context.Context, vmid id.VM) error {
	guest, err := c.Find(ctx, vmid)
	switch {
	case err == nil:
		return &TakenError{Guest: guest}
	case errors.Is(err, ErrNoGuest):
		return nil
	}
	return err
}

// NextFree returns the lowest number that no guest has, within the bounds that
// datacenter.cfg sets.
func (c *Client) NextFree(ctx context.Context) (id.VM, error) {
	options, err := c.Datacenter(ctx, nil)
	if err != nil {
		return 0, err
	}
	lower, upper := 100, 1000000
	if n := options.NextID; n != nil {
		lower, upper = or(n.Lower, lower), or(n.Upper, upper)
	}
	guests, err := c.Guests(ctx)
	if err != nil {
		return 0, err
	}
	next := id.VM(lower)
	for _, g := range guests {
		if g.ID == next {
			next++
		}
	}
	if next >= id.VM(upper) {
		return 0, fmt.Errorf("unable to get any free VMID in range [%d, %d]", lower, upper)
	}
	return next, nil
}

func or[T any](given *T, otherwise T) T {
	if given != nil {
		return *given
	}
	return otherwise
}

// Nodes lists the nodes that have files in the tree, and our own, by name.
func (c *Client) Nodes(context.Context) ([]id.Node, error) {
	nodes, err := c.nodeFolders()
	if !slices.Contains(nodes, c.Node) {
		nodes = append(nodes, c.Node)
		slices.Sort(nodes)
	}
	return nodes, err
}

// nodeFolders lists the nodes that have files in the tree, also those that have left.
func (c *Client) nodeFolders() ([]id.Node, error) {
	found, err := names(filepath.Dir(c.NodePath("")))
	nodes := make([]id.Node, len(found))
	for i, name := range found {
		nodes[i] = id.Node(name)
	}
	slices.Sort(nodes)
	return nodes, err
}
