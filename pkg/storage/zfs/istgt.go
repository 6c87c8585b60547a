package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// istgt is the target of FreeBSD. Its configuration file is changed where a LUN comes
// or goes and left as it is elsewhere.
type istgt struct {
	server       *server
	base         string
	target       string
	writeThrough bool
}

// mostUnits is how many LUNs a target of istgt has.
const mostUnits = 64

// files are where the configuration can be, and what restarts istgt there.
func (*istgt) files() (configs, daemons []string) {
	return []string{"/usr/local/etc/istgt/istgt.conf", "/var/etc/iscsi/istgt.conf"},
		[]string{"/usr/local/etc/rc.d/istgt", "/var/etc/rc.d/istgt"}
}

func (i *istgt) device(dataset string) string { return i.base + "/" + dataset }

// istgtConfig is the configuration of istgt, and where it was found.
type istgtConfig struct {
	lines        []string
	first, after int // the lines of the target's section, its head left out
	luns         map[string]int
	pidFile      string
	path, daemon string
}

var (
	istgtSection = regexp.MustCompile(`^\s*\[(\w+)\]`)
	istgtWord    = regexp.MustCompile(`^\s*(\w+)\s+(.*?)\s*$`)
	istgtStorage = regexp.MustCompile(`(?i)^Storage\s+"?([^"\s]+)"?`)
	istgtLUN     = regexp.MustCompile(`^LUN(\d+)$`)
)

// parseIstgt finds the section of a target.
func parseIstgt(text, target string) (istgtConfig, error) {
	c := istgtConfig{lines: strings.Split(strings.TrimRight(text, "\n"), "\n"), first: -1}
	base, name, section, head := "", "", "", 0
	luns := map[string]int{}
	end := func(at int) {
		full := name
		if !strings.HasPrefix(name, "iqn.") && !strings.HasPrefix(name, "eui.") && !strings.HasPrefix(name, "naa.") {
			full = base + ":" + name
		}
		if strings.HasPrefix(section, "LogicalUnit") && full == target {
			c.first, c.after, c.luns = head, at, luns
		}
	}
	for n, line := range c.lines {
		if m := istgtSection.FindStringSubmatch(line); m != nil {
			end(n)
			section, head, name, luns = m[1], n+1, "", map[string]int{}
			continue
		}
		m := istgtWord.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		value := strings.Trim(m[2], `"`)
		switch {
		case m[1] == "NodeBase":
			base = value
		case m[1] == "PidFile":
			c.pidFile = value
		case m[1] == "TargetName":
			name = value
		case istgtLUN.MatchString(m[1]):
			if s := istgtStorage.FindStringSubmatch(m[2]); s != nil {
				luns[s[1]], _ = strconv.Atoi(m[1][3:])
			}
		}
	}
	end(len(c.lines))
	if c.first < 0 {
		return c, fmt.Errorf("%s: Target not found", target)
	}
	return c, nil
}

// with returns the text with one more LUN, after what the section has.
func (c istgtConfig) with(device string, writeThrough bool) (string, error) {
	number := 0
	for used := slices.Collect(maps.Values(c.luns)); slices.Contains(used, number); {
		number++
	}
	if number >= mostUnits {
		return "", fmt.Errorf("Maximum number of LUNs per target is %d", mostUnits-1)
	}
	at := c.after
	for at > c.first && strings.TrimSpace(c.lines[at-1]) == "" {
		at--
	}
	added := []string{fmt.Sprintf("  LUN%d Storage %s AUTO", number, device)}
	if writeThrough {
		added = append(added, fmt.Sprintf("  LUN%d Option WriteCache Disable", number))
	}
	return strings.Join(slices.Insert(slices.Clone(c.lines), at, added...), "\n") + "\n", nil
}

// without returns the text without a LUN.
func (c istgtConfig) without(number int) string {
	var left []string
	for n, line := range c.lines {
		m := istgtWord.FindStringSubmatch(line)
		if n >= c.first && n < c.after && m != nil && m[1] == fmt.Sprintf("LUN%d", number) {
			continue
		}
		left = append(left, line)
	}
	return strings.Join(left, "\n") + "\n"
}

func (i *istgt) read(ctx context.Context) (istgtConfig, error) {
	configs, daemons := i.files()
	text, n, err := i.server.read(ctx, "istgt", configs...)
	if err != nil {
		return istgtConfig{}, err
	}
	c, err := parseIstgt(text, i.target)
	c.path, c.daemon = configs[n], daemons[n]
	return c, err
}

func (i *istgt) lun(ctx context.Context, device string) (int, bool, error) {
	c, err := i.read(ctx)
	n, ok := c.luns[device]
	return n, ok && err == nil, err
}

// add writes the LUN down and has istgt read its configuration again, which it does
// for LUNs that nobody uses yet.
func (i *istgt) add(ctx context.Context, device string, _ bool) error {
	c, err := i.read(ctx)
	if err != nil {
		return err
	}
	if c.pidFile == "" {
		return errors.New("istgt: the configuration names no PidFile")
	}
	text, err := c.with(device, i.writeThrough)
	if err != nil {
		return err
	}
	return i.replace(ctx, c, text, "/bin/sh", "-c", `kill -HUP "$(cat "$1")"`, "sh", c.pidFile)
}

// remove takes the LUN out and restarts istgt, which ends all connections for a moment:
// it forgets no LUN otherwise.
func (i *istgt) remove(ctx context.Context, device string) error {
	c, err := i.read(ctx)
	if err != nil {
		return err
	}
	n, ok := c.luns[device]
	if !ok {
		return nil
	}
	return i.replace(ctx, c, c.without(n), i.restart(c)...)
}

func (*istgt) restart(c istgtConfig) []string {
	return []string{"/bin/sh", "-c", `exec "$1" onerestart >/dev/null 2>&1`, "sh", c.daemon}
}

// replace writes the configuration and has it read. When that fails, it is as it was.
func (i *istgt) replace(ctx context.Context, c istgtConfig, text string, reload ...string) error {
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("restart istgt", func(ctx context.Context) error {
		_, err := i.server.do(ctx, "", i.restart(c)...)
		return err
	})
	undo.Add("write "+c.path, func(ctx context.Context) error {
		return i.server.write(ctx, c.path, strings.Join(c.lines, "\n")+"\n")
	})
	if err := i.server.write(ctx, c.path, text); err != nil {
		return err
	}
	if _, err := i.server.do(context.WithoutCancel(ctx), "", reload...); err != nil {
		return err
	}
	undo.Success()
	return nil
}

// resized restarts istgt, which sees a new size only then.
func (i *istgt) resized(ctx context.Context, _ string, _ int64) error {
	c, err := i.read(ctx)
	if err != nil {
		return err
	}
	_, err = i.server.do(ctx, "", i.restart(c)...)
	return err
}
