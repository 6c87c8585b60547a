// Package access is who may do what: the file that users, groups, pools, roles and
// rights are kept in ([Rights]), and what it means ([Policy]). A door asks the policy
// before it calls a method; those that stand at the machine as root ask nobody.
package access

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// File is where users, groups, pools, roles and access rights are, below /etc/pve.
const File = cluster.UserFile

// ErrUnchanged is returned by the function given to [Change] to say that there is
// nothing to save.
var ErrUnchanged = errors.New("unchanged")

// Load reads the file. One that is absent is empty.
func Load(ctx context.Context, c *cluster.Client) (*Rights, error) {
	text, err := c.ReadOptional(ctx, File)
	if err != nil {
		return nil, err
	}
	return Parse(string(text)), nil
}

// Change lets fn change what the file says, under its lock, and saves it.
func Change(ctx context.Context, c *cluster.Client, fn func(*Rights) error) error {
	o := file.LockOptions{Patience: cluster.Patience, What: File}
	return c.WithLock(ctx, "file-user_cfg", o, func(ctx context.Context) error {
		r, err := Load(ctx, c)
		if err != nil {
			return err
		}
		switch err := fn(r); {
		case errors.Is(err, ErrUnchanged):
			return nil
		case err != nil:
			return err
		}
		return c.WriteFile(ctx, File, []byte(r.String()))
	})
}

// Rights are what the file says.
type Rights struct {
	blocks [blocks][]line
}

// A line is an entry: its kind and its fields, between colons.
type line []string

// The blocks of the file, in their order. Tokens stand behind their users.
const (
	users = iota
	groups
	pools
	roles
	rights
	others
	blocks
)

func blockOf(kind string) int {
	switch kind {
	case "user", "token":
		return users
	case "group":
		return groups
	case "pool":
		return pools
	case "role":
		return roles
	case "acl":
		return rights
	}
	return others
}

// Parse reads the text of the file. Lines of a kind that is not known are kept.
func Parse(text string) *Rights {
	r := &Rights{}
	for entry := range strings.Lines(text) {
		entry = strings.TrimSpace(entry)
		if entry == "" || entry[0] == '#' {
			continue
		}
		l := line(strings.Split(entry, ":"))
		b := blockOf(l[0])
		r.blocks[b] = append(r.blocks[b], l)
	}
	return r
}

// String returns the text of the file.
func (r *Rights) String() string {
	var b strings.Builder
	for kind, list := range r.blocks {
		if kind < rights {
			slices.SortStableFunc(list, func(x, y line) int { return strings.Compare(x.field(1), y.field(1)) })
		}
		for _, l := range list {
			b.WriteString(strings.Join(l, ":") + "\n")
		}
		if kind < rights {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (l line) field(n int) string {
	if n < len(l) {
		return l[n]
	}
	return ""
}

// The fields of a pool, and of a right.
const (
	poolName    = 1
	poolGuests  = 3
	rightsPath  = 2
	poolMinimum = 4
)

// HasPool tells whether there is a pool of the given name.
func (r *Rights) HasPool(name string) bool { return r.pool(name) != nil }

func (r *Rights) pool(name string) line {
	for _, l := range r.blocks[pools] {
		if l.field(poolName) == name && len(l) >= poolMinimum {
			return l
		}
	}
	return nil
}

// PoolOf returns the pool that a guest belongs to, empty where there is none.
func (r *Rights) PoolOf(guest id.VM) string {
	for _, l := range r.blocks[pools] {
		if slices.Contains(strings.Split(l.field(poolGuests), ","), guest.String()) {
			return l.field(poolName)
		}
	}
	return ""
}

// AddToPool makes a guest a member of a pool. A guest is in one pool at most.
func (r *Rights) AddToPool(name string, guest id.VM) error {
	l := r.pool(name)
	if l == nil {
		return errors.New("pool '" + name + "' does not exist")
	}
	r.leavePools(guest)
	members := strings.FieldsFunc(l[poolGuests], func(c rune) bool { return c == ',' })
	members = append(members, guest.String())
	slices.Sort(members)
	l[poolGuests] = strings.Join(slices.Compact(members), ",")
	return nil
}

func (r *Rights) leavePools(guest id.VM) (changed bool) {
	for _, l := range r.blocks[pools] {
		if len(l) < poolMinimum {
			continue
		}
		before := strings.FieldsFunc(l[poolGuests], func(c rune) bool { return c == ',' })
		after := slices.DeleteFunc(slices.Clone(before), func(m string) bool { return m == guest.String() })
		if len(after) != len(before) {
			l[poolGuests] = strings.Join(after, ",")
			changed = true
		}
	}
	return changed
}

// RemoveGuest takes a guest out of its pool, and the rights on it away. It tells
// whether there were any.
func (r *Rights) RemoveGuest(guest id.VM) (changed bool) {
	changed = r.leavePools(guest)
	path := "/vms/" + guest.String()
	before := len(r.blocks[rights])
	r.blocks[rights] = slices.DeleteFunc(r.blocks[rights], func(l line) bool { return l.field(rightsPath) == path })
	return changed || len(r.blocks[rights]) != before
}
