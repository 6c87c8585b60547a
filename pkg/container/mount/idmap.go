package mount

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// An IDRange maps a run of numbers of users, or of groups.
type IDRange struct {
	Group   bool
	Inside  int64 // the first one in the container
	Outside int64 // what it is on the host, or on disk in the map of a mount point
	Count   int64
}

// IDs is the map of a container, onto the host. A privileged container has none.
type IDs []IDRange

// Root returns who of the host the container's root is.
func (ids IDs) Root() Owner {
	var o Owner
	for _, r := range ids {
		if r.Inside > 0 || r.Inside+r.Count <= 0 {
			continue
		}
		if r.Group {
			o.GID = int(r.Outside - r.Inside)
		} else {
			o.UID = int(r.Outside - r.Inside)
		}
	}
	return o
}

// An IDMap tells which owners on disk are whom in the container. The zero value changes nothing.
type IDMap struct {
	// Passthrough makes the numbers on disk those in the container.
	Passthrough bool
	// Ranges are exceptions from the container's own map; Outside is on disk.
	Ranges []IDRange
}

// Zero tells whether the map changes nothing.
func (m IDMap) Zero() bool { return !m.Passthrough && len(m.Ranges) == 0 }

// maxID is the highest number that a user or group may have.
const maxID = 1<<32 - 2

// ParseIDMap reads the map of a mount point as a configuration has it: "passthrough", or
// "u:1005:1005:1;g:100:50:5" with the number in the container before that on disk.
func ParseIDMap(text string) (IDMap, error) {
	switch text {
	case "":
		return IDMap{}, nil
	case "passthrough":
		return IDMap{Passthrough: true}, nil
	}
	var m IDMap
	for entry := range strings.SplitSeq(text, ";") {
		words := strings.Split(entry, ":")
		if len(words) != 4 || words[0] != "u" && words[0] != "g" {
			return IDMap{}, fmt.Errorf("idmap entry '%s' is not type:container:disk:range-size", entry)
		}
		var n [3]int64
		for i, word := range words[1:] {
			v, err := strconv.ParseUint(word, 10, 32)
			if err != nil {
				return IDMap{}, fmt.Errorf("idmap entry '%s': '%s' is no number of users or groups", entry, word)
			}
			n[i] = int64(v)
		}
		r := IDRange{Group: words[0] == "g", Inside: n[0], Outside: n[1], Count: n[2]}
		if r.Count == 0 || max(r.Inside, r.Outside)+r.Count-1 > maxID {
			return IDMap{}, fmt.Errorf("idmap entry '%s' has a range that cannot be", entry)
		}
		m.Ranges = append(m.Ranges, r)
	}
	return m, m.check()
}

// check refuses maps in which a number has two meanings.
func (m IDMap) check() error {
	for i, a := range m.Ranges {
		for _, b := range m.Ranges[:i] {
			if a.Group != b.Group {
				continue
			}
			if a.Inside < b.Inside+b.Count && b.Inside < a.Inside+a.Count {
				return fmt.Errorf("idmap: %d is mapped twice in the container", max(a.Inside, b.Inside))
			}
			if a.Outside < b.Outside+b.Count && b.Outside < a.Outside+a.Count {
				return fmt.Errorf("idmap: %d is mapped twice on disk", max(a.Outside, b.Outside))
			}
		}
	}
	return nil
}

// onHost returns the map from numbers on disk (Inside of the result) to those of the host,
// of users or of groups, for a container with the given map.
func (m IDMap) onHost(ids IDs, group bool) ([]IDRange, error) {
	var own, out []IDRange
	for _, r := range ids {
		if r.Group == group {
			own = append(own, r)
		}
	}
	if m.Passthrough {
		return own, nil
	}
	// What is not said otherwise is on disk as it is on the host.
	var rest []IDRange
	for _, r := range own {
		rest = append(rest, IDRange{Group: group, Inside: r.Outside, Outside: r.Outside, Count: r.Count})
	}
	for _, r := range m.Ranges {
		if r.Group != group {
			continue
		}
		for done := int64(0); done < r.Count; {
			i := slices.IndexFunc(own, func(o IDRange) bool {
				return o.Inside <= r.Inside+done && r.Inside+done < o.Inside+o.Count
			})
			if i < 0 {
				return nil, fmt.Errorf("idmap: the container has no %s %d", kind(group), r.Inside+done)
			}
			from := r.Inside + done
			n := min(r.Count-done, own[i].Inside+own[i].Count-from)
			host := own[i].Outside + from - own[i].Inside
			out = append(out, IDRange{Group: group, Inside: r.Outside + done, Outside: host, Count: n})
			// Neither this number of the host nor that on disk has its old meaning.
			rest = without(without(rest, host, n), r.Outside+done, n)
			done += n
		}
	}
	out = append(out, rest...)
	slices.SortFunc(out, func(a, b IDRange) int { return cmp.Compare(a.Inside, b.Inside) })
	return out, nil
}

// OnDisk returns who an owner of the host is on the disk, for a container with the given map.
func (m IDMap) OnDisk(ids IDs, o Owner) (Owner, error) {
	for _, side := range []struct {
		group bool
		id    *int
	}{{false, &o.UID}, {true, &o.GID}} {
		ranges, err := m.onHost(ids, side.group)
		if err != nil {
			return Owner{}, err
		}
		for _, r := range ranges {
			if at := int64(*side.id); r.Outside <= at && at < r.Outside+r.Count {
				*side.id = int(at - r.Outside + r.Inside)
				break
			}
		}
	}
	return o, nil
}

func kind(group bool) string {
	if group {
		return "group"
	}
	return "user"
}

// without cuts the numbers [from, from+count) out of ranges that map each number to itself.
func without(ranges []IDRange, from, count int64) []IDRange {
	var out []IDRange
	for _, r := range ranges {
		end := r.Inside + r.Count
		if before := min(end, from) - r.Inside; before > 0 {
			out = append(out, IDRange{Group: r.Group, Inside: r.Inside, Outside: r.Inside, Count: before})
		}
		if start := max(r.Inside, from+count); start < end {
			out = append(out, IDRange{Group: r.Group, Inside: start, Outside: start, Count: end - start})
		}
	}
	return out
}

// apply maps the owners of a mount that is in no tree yet.
func (m IDMap) apply(mount *os.File, ids IDs) error {
	users, err := m.onHost(ids, false)
	if err != nil {
		return err
	}
	groups, err := m.onHost(ids, true)
	if err != nil {
		return err
	}
	ns, err := userNamespace(users, groups)
	if err != nil {
		return fmt.Errorf("idmap: %w", err)
	}
	defer ns.Close()
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	err = unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH, &attr)
	switch {
	case errors.Is(err, unix.ENOSYS):
		return errors.New("idmap: mounts with a map of owners need Linux 5.12 or later")
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("idmap: the file system cannot map owners: %w", err)
	case err != nil:
		return fmt.Errorf("idmap: %w", err)
	}
	return nil
}

// userNamespace returns a user namespace with the given maps. The kernel takes them from
// nothing else.
func userNamespace(users, groups []IDRange) (*os.File, error) {
	return namespace("user", syscall.CLONE_NEWUSER, users, groups)
}

func sysMap(ranges []IDRange) []syscall.SysProcIDMap {
	var m []syscall.SysProcIDMap
	for _, r := range ranges {
		m = append(m, syscall.SysProcIDMap{ContainerID: int(r.Inside), HostID: int(r.Outside), Size: int(r.Count)})
	}
	return m
}
