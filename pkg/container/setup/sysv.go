package setup

import (
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

var sysvConsole = pattern.New(`^\s*\d+:\d*:[^:]*:.*getty|^\s*p[fno0]:`)

// SysvInittab has a getty of Debian's kind on each tty, and a power failure shut the container
// down, by which it is told to.
func (t *Target) SysvInittab(getty string) error {
	add := []string{"p0::powerfail:/sbin/init 0"}
	for n := 1; n <= t.TTYs(); n++ {
		levels := "23"
		if n == 1 {
			levels = "2345"
		}
		add = append(add, fmt.Sprintf("%d:%s:respawn:/sbin/getty %s tty%d", n, levels, getty, n))
	}
	return t.Inittab(sysvConsole.Regexp(), add)
}
