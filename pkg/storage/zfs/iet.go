package zfs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// iet is the iSCSI Enterprise Target, an older one of Linux. LUNs are told to the running
// target with ietadm, and written down for the next start.
type iet struct {
	server *server
	base   string
	target string
}

const (
	ietConfigFile = "/etc/iet/ietd.conf"
	ietVolumes    = "/proc/net/iet/volume"
	ietadm        = "/usr/sbin/ietadm"
	// mostIETUnits is how many LUNs a target has.
	mostIETUnits = 16384
)

func (e *iet) device(dataset string) string { return e.base + "/" + dataset }

// An ietLUN is a LUN of the target.
type ietLUN struct {
	number int
	kind   string // blockio, fileio
	line   int    // where it is written
}

// ietConfig is the configuration of the target.
type ietConfig struct {
	lines        []string
	first, after int // the lines of the target, its head left out
	luns         map[string]ietLUN
	used         map[int]bool
}

var (
	ietTarget = pattern.New(`^\s*Target\s+([\w.:-]+)\s*$`)
	ietUnit   = pattern.New(`^\s*Lun\s+(\d+)\s+(\S+)\s*$`)
)

// parseIET finds the lines of a target.
func parseIET(text, target string) (ietConfig, error) {
	c := ietConfig{lines: strings.Split(strings.TrimRight(text, "\n"), "\n"), first: -1, luns: map[string]ietLUN{}, used: map[int]bool{}}
	inside := false
	for n, line := range c.lines {
		if m := ietTarget.FindStringSubmatch(line); m != nil {
			inside = m[1] == target
			if inside && c.first >= 0 {
				return c, fmt.Errorf("%s:%d: target %s is there twice", ietConfigFile, n+1, target)
			}
			if inside {
				c.first = n + 1
			}
			continue
		}
		if !inside {
			continue
		}
		if strings.TrimSpace(line) != "" {
			c.after = n + 1
		}
		m := ietUnit.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		number, err := strconv.Atoi(m[1])
		if err != nil {
			return c, fmt.Errorf("%s:%d: %w", ietConfigFile, n+1, err)
		}
		lun, path := ietLUN{number: number, line: n}, ""
		for pair := range strings.SplitSeq(m[2], ",") {
			switch key, value, _ := strings.Cut(pair, "="); key {
			case "Path":
				path = value
			case "Type":
				lun.kind = value
			}
		}
		c.used[number] = true
		if path != "" {
			c.luns[path] = lun
		}
	}
	if c.first < 0 {
		return c, fmt.Errorf("%s: Target not found", target)
	}
	c.after = max(c.after, c.first)
	return c, nil
}

// with returns the text with one more LUN, and its number.
func (c ietConfig) with(device string) (string, int, error) {
	number := 0
	for c.used[number] {
		number++
	}
	if number >= mostIETUnits {
		return "", 0, fmt.Errorf("Maximum number of LUNs per target is %d", mostIETUnits)
	}
	line := fmt.Sprintf("\tLun %d Path=%s,Type=blockio", number, device)
	return strings.Join(slices.Insert(slices.Clone(c.lines), c.after, line), "\n") + "\n", number, nil
}

// without returns the text without a LUN.
func (c ietConfig) without(l ietLUN) string {
	return strings.Join(slices.Delete(slices.Clone(c.lines), l.line, l.line+1), "\n") + "\n"
}

func (e *iet) read(ctx context.Context) (ietConfig, error) {
	text, _, err := e.server.read(ctx, "iet", ietConfigFile)
	if err != nil {
		return ietConfig{}, err
	}
	return parseIET(text, e.target)
}

func (e *iet) lun(ctx context.Context, device string) (int, bool, error) {
	c, err := e.read(ctx)
	l, ok := c.luns[device]
	return l.number, ok && err == nil, err
}

var ietRunning = pattern.New(`(?m)^\s*tid:(\d+)\s+name:(\S+)\s*$`)

// id asks for the number that the running target has.
func (e *iet) id(ctx context.Context) (string, error) {
	text, err := e.server.ask(ctx, "cat", ietVolumes)
	if err != nil {
		return "", err
	}
	for _, m := range ietRunning.FindAllStringSubmatch(text, -1) {
		if m[2] == e.target {
			return m[1], nil
		}
	}
	return "", fmt.Errorf("iet on %s serves no target %s", e.server.portal, e.target)
}

// add writes the LUN down and tells the running target.
func (e *iet) add(ctx context.Context, device string, _ bool) error {
	tid, err := e.id(ctx)
	if err != nil {
		return err
	}
	c, err := e.read(ctx)
	if err != nil {
		return err
	}
	if err := e.server.await(ctx, device); err != nil {
		return err
	}
	text, number, err := c.with(device)
	if err != nil {
		return err
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("write "+ietConfigFile, func(ctx context.Context) error {
		return e.server.write(ctx, ietConfigFile, strings.Join(c.lines, "\n")+"\n")
	})
	if err := e.server.write(ctx, ietConfigFile, text); err != nil {
		return err
	}
	if err := e.tell(context.WithoutCancel(ctx), tid, device, ietLUN{number: number, kind: "blockio"}); err != nil {
		return err
	}
	undo.Success()
	return nil
}

// tell gives a LUN to the running target.
func (e *iet) tell(ctx context.Context, tid, device string, l ietLUN) error {
	_, err := e.server.do(ctx, "", ietadm, "--op", "new", "--tid="+tid, fmt.Sprintf("--lun=%d", l.number), "--params", "Path="+device+",Type="+l.kind)
	return err
}

// drop takes a LUN from the running target.
func (e *iet) drop(ctx context.Context, tid string, l ietLUN) error {
	_, err := e.server.do(ctx, "", ietadm, "--op", "delete", "--tid="+tid, fmt.Sprintf("--lun=%d", l.number))
	return err
}

// remove takes the LUN from the running target, then out of its configuration.
func (e *iet) remove(ctx context.Context, device string) error {
	c, err := e.read(ctx)
	if err != nil {
		return err
	}
	l, ok := c.luns[device]
	if !ok {
		return nil
	}
	tid, err := e.id(ctx)
	if err != nil {
		return err
	}
	if err := e.drop(ctx, tid, l); err != nil {
		return err
	}
	return e.server.write(context.WithoutCancel(ctx), ietConfigFile, c.without(l))
}

// resized takes the LUN and gives it again, as iet sees a new size only then.
func (e *iet) resized(ctx context.Context, device string, _ int64) error {
	c, err := e.read(ctx)
	if err != nil {
		return err
	}
	l, ok := c.luns[device]
	if !ok {
		return fmt.Errorf("Could not find lu_name for zvol %s", device)
	}
	tid, err := e.id(ctx)
	if err != nil {
		return err
	}
	if err := e.drop(ctx, tid, l); err != nil {
		return err
	}
	return e.tell(context.WithoutCancel(ctx), tid, device, l)
}
