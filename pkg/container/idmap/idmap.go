// Package idmap is the map of users of a container: which users and groups of the host
// those of the container are. It reads the lines lxc.idmap of a configuration, knows the
// map of an unprivileged container that has none, and checks what maps can be wrong in.
package idmap

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The map of an unprivileged container whose configuration has no lines lxc.idmap.
const (
	DefaultHost  = 100000
	DefaultCount = 65536
)

// IsKey tells whether a line for LXC of that key is part of a map; LXC 2 had another name.
func IsKey(key string) bool { return key == "lxc.idmap" || key == "lxc.id_map" }

// A Kind is what a line maps.
type Kind byte

// The kinds.
const (
	User  Kind = 'u'
	Group Kind = 'g'
)

// An Entry is one line of a map: Count ids, from Container on in the container, from Host
// on at the host.
type Entry struct {
	Kind      Kind
	Container uint32
	Host      uint32
	Count     uint32
}

// String returns the value of the line lxc.idmap.
func (e Entry) String() string {
	return fmt.Sprintf("%c %d %d %d", e.Kind, e.Container, e.Host, e.Count)
}

// A Map holds the entries in the order of the configuration. An empty one is that of a
// privileged container, whose users are those of the host.
type Map []Entry

// Default is the map of an unprivileged container whose configuration has none.
func Default() Map {
	return Map{{User, 0, DefaultHost, DefaultCount}, {Group, 0, DefaultHost, DefaultCount}}
}

// Of returns the map of a container, given the values of its lines lxc.idmap.
func Of(lines []string, unprivileged bool) (Map, error) {
	if len(lines) == 0 {
		if unprivileged {
			return Default(), nil
		}
		return nil, nil
	}
	m := make(Map, 0, len(lines))
	for _, line := range lines {
		e, err := Parse(line)
		if err != nil {
			return nil, err
		}
		m = append(m, e)
	}
	return m, m.Check()
}

// Parse reads the value of a line lxc.idmap: a letter and three numbers.
func Parse(line string) (Entry, error) {
	words := strings.Fields(line)
	if len(words) != 4 || words[0] != "u" && words[0] != "g" {
		return Entry{}, fmt.Errorf("failed to parse idmap: %s", line)
	}
	var n [3]uint32
	for i, word := range words[1:] {
		value, err := strconv.ParseUint(word, 10, 32)
		if err != nil || word[0] == '+' {
			return Entry{}, fmt.Errorf("failed to parse idmap: %s", line)
		}
		n[i] = uint32(value)
	}
	return Entry{Kind(words[0][0]), n[0], n[1], n[2]}, nil
}

// Check tells what is wrong in a map: an entry of no ids or beyond the last id, and an id
// of the container or the host that two entries map.
func (m Map) Check() error {
	for _, e := range m {
		// The last number of 32 bits means "no id" to the kernel.
		if e.Count == 0 || uint64(e.Container)+uint64(e.Count) > math.MaxUint32 || uint64(e.Host)+uint64(e.Count) > math.MaxUint32 {
			return fmt.Errorf("invalid map entry '%s': its range is empty or leaves that of ids", e)
		}
	}
	for _, kind := range []Kind{User, Group} {
		if err := m.overlap(kind, "container", func(e Entry) uint32 { return e.Container }); err != nil {
			return err
		}
		if err := m.overlap(kind, "host", func(e Entry) uint32 { return e.Host }); err != nil {
			return err
		}
	}
	return nil
}

// overlap finds two entries of a kind that map the same id on one side. Sorted by their
// start, only neighbours can, so a map of thousands of lines is checked at once.
func (m Map) overlap(kind Kind, side string, start func(Entry) uint32) error {
	entries := slices.DeleteFunc(slices.Clone(m), func(e Entry) bool { return e.Kind != kind })
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(start(a), start(b)) })
	for i := 1; i < len(entries); i++ {
		before, e := entries[i-1], entries[i]
		if uint64(start(before))+uint64(before.Count) > uint64(start(e)) {
			return fmt.Errorf("invalid map entry '%s': %s %cid %d is also mapped by entry '%s'", e, side, kind, start(e), before)
		}
	}
	return nil
}

// Privileged tells whether the container's users are those of the host.
func (m Map) Privileged() bool { return len(m) == 0 }

// ToHost returns which id of the host an id of the container is. Ids that are not mapped
// do not exist in the container: nothing can belong to them.
func (m Map) ToHost(kind Kind, id uint32) (uint32, bool) {
	if len(m) == 0 {
		return id, true
	}
	for _, e := range m {
		if e.Kind == kind && id >= e.Container && id-e.Container < e.Count {
			return e.Host + (id - e.Container), true
		}
	}
	return 0, false
}

// ToContainer is the inverse of ToHost.
func (m Map) ToContainer(kind Kind, id uint32) (uint32, bool) {
	if len(m) == 0 {
		return id, true
	}
	for _, e := range m {
		if e.Kind == kind && id >= e.Host && id-e.Host < e.Count {
			return e.Container + (id - e.Host), true
		}
	}
	return 0, false
}

// Root returns the user and group of the host that root of the container is.
func (m Map) Root() (uid, gid uint32, err error) {
	uid, user := m.ToHost(User, 0)
	gid, group := m.ToHost(Group, 0)
	if !user || !group {
		return 0, 0, fmt.Errorf("the map of ids does not map root of the container (id 0)")
	}
	return uid, gid, nil
}

// Ids returns the map as a process takes it that is to start in a user namespace.
func (m Map) Ids() (users, groups []syscall.SysProcIDMap) {
	for _, e := range m {
		entry := syscall.SysProcIDMap{ContainerID: int(e.Container), HostID: int(e.Host), Size: int(e.Count)}
		if e.Kind == User {
			users = append(users, entry)
		} else {
			groups = append(groups, entry)
		}
	}
	return users, groups
}

// Args returns the map as lxc-usernsexec takes it: -m u:0:100000:65536 and so on.
func (m Map) Args() []string {
	args := make([]string, 0, 2*len(m))
	for _, e := range m {
		args = append(args, "-m", fmt.Sprintf("%c:%d:%d:%d", e.Kind, e.Container, e.Host, e.Count))
	}
	return args
}
