package lxcconf

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
)

// raw adds the lines that the configuration has for LXC itself, last: they overrule ours.
func (b *maker) raw() {
	card := b.firstFree() - 1
	skipped := map[string]bool{}
	for _, line := range b.Raw {
		key := container.CurrentKey(line.Key)
		if version := b.foreignGroup(key); version != "" {
			if !skipped[version] {
				b.Warnings = append(b.Warnings, fmt.Sprintf("this machine has control groups of another version: lines %s* are skipped", version))
			}
			skipped[version] = true
			continue
		}
		// LXC 2 began another card with each type.
		if rest, ok := strings.CutPrefix(key, "lxc.net.INDEX."); ok {
			if rest == "type" {
				card++
			}
			key = fmt.Sprintf("lxc.net.%d.%s", max(card, 0), rest)
		}
		if key == hooksEnvironment && !b.LXC.AtLeast(7, 0) {
			b.Warnings = append(b.Warnings, fmt.Sprintf("%s needs LXC 7: the container gets the variable as well", key))
			key = "lxc.environment"
		}
		b.add(key, line.Value)
	}
}

// hooksEnvironment is the key for variables of the hooks alone.
const hooksEnvironment = "lxc.environment.hooks"

// foreignGroup tells whether a key is for control groups of the version that the machine
// does not have; it returns how such keys begin.
func (b *maker) foreignGroup(key string) string {
	for _, word := range []string{"lxc.cgroup.relative", "lxc.cgroup.dir", "lxc.cgroup.pattern", "lxc.cgroup.use"} {
		if strings.HasPrefix(key, word) {
			return ""
		}
	}
	other := "lxc.cgroup2."
	if b.Kernel.Unified {
		other = "lxc.cgroup."
	}
	if strings.HasPrefix(key, other) {
		return other
	}
	return ""
}

// firstFree is the first number above those of our cards.
func (b *maker) firstFree() int {
	free := 0
	for n := range b.Config.Net {
		free = max(free, n+1)
	}
	return free
}
