package zfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// lio is the target of the Linux kernel, which targetcli looks after. What is given out
// is read from the file in which targetcli saves it.
type lio struct {
	server *server
	base   string
	pool   string
	target string
	group  string // tpg1
}

var (
	portalGroup = regexp.MustCompile(`^tpg(\d+)$`)
	targetName  = regexp.MustCompile(`^[A-Za-z0-9.:_-]+$`)
)

func newLIO(c Config, s *server, base string) (unit, error) {
	// These words become lines for targetcli, which knows no quotes.
	if !targetName.MatchString(c.Target) {
		return nil, fmt.Errorf("invalid name of an iSCSI target '%s'", c.Target)
	}
	return &lio{server: s, base: base, pool: c.Pool, target: c.Target, group: text(c.LIOTPG)}, nil
}

func (l *lio) device(dataset string) string { return l.base + "/" + dataset }

const blockStore = "/backstores/block"

// stores are the names that the storage object of a device can have: with the pool, and
// as they were without it once.
func (l *lio) stores(device string) [2]string {
	file := device[strings.LastIndexByte(device, '/')+1:]
	return [2]string{strings.ReplaceAll(l.pool, "/", "-") + "-" + file, file}
}

// saved is what targetcli has saved.
type saved struct {
	Objects []struct {
		Name   string `json:"name"`
		Plugin string `json:"plugin"`
		Device string `json:"dev"`
	} `json:"storage_objects"`
	Targets []struct {
		Fabric string `json:"fabric"`
		Name   string `json:"wwn"`
		Groups []struct {
			Tag  int `json:"tag"`
			LUNs []struct {
				Index  int    `json:"index"`
				Object string `json:"storage_object"`
			} `json:"luns"`
		} `json:"tpgs"`
	} `json:"targets"`
}

// parseSaved reads the file of targetcli.
func parseSaved(text string) (saved, error) {
	var all saved
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return all, fmt.Errorf("the saved configuration of targetcli cannot be read: %w", err)
	}
	return all, nil
}

// luns returns the LUNs of a portal group, by storage object.
func (a saved) luns(target, group string) (map[string]int, error) {
	m := portalGroup.FindStringSubmatch(group)
	if m == nil {
		return nil, errors.New("Target Portal Group has invalid value, must contain string 'tpg' and a suffix number, eg 'tpg17'")
	}
	for _, t := range a.Targets {
		for _, g := range t.Groups {
			if t.Fabric != "iscsi" || t.Name != target || fmt.Sprint(g.Tag) != m[1] {
				continue
			}
			found := map[string]int{}
			for _, l := range g.LUNs {
				found[l.Object] = l.Index
			}
			return found, nil
		}
	}
	return nil, fmt.Errorf("target portal group %s not found!", group)
}

// of tells whether there is a storage object of a name, of a device.
func (a saved) of(name, device string) bool {
	for _, o := range a.Objects {
		if o.Plugin == "block" && o.Name == name && o.Device == device {
			return true
		}
	}
	return false
}

func (l *lio) read(ctx context.Context) (saved, map[string]int, error) {
	if l.group == "" {
		return saved{}, nil, errors.New("Target Portal Group not set, aborting!")
	}
	text, _, err := l.server.read(ctx, "targetcli", "/etc/rtslib-fb-target/saveconfig.json", "/etc/target/saveconfig.json")
	if err != nil {
		return saved{}, nil, err
	}
	all, err := parseSaved(text)
	if err != nil {
		return all, nil, err
	}
	luns, err := all.luns(l.target, l.group)
	return all, luns, err
}

func (l *lio) lun(ctx context.Context, device string) (int, bool, error) {
	_, luns, err := l.read(ctx)
	if err != nil {
		return 0, false, err
	}
	for _, store := range l.stores(device) {
		if n, ok := luns[blockStore+"/"+store]; ok {
			return n, true, nil
		}
	}
	return 0, false, nil
}

// add makes a storage object that lets its users give back space, and a LUN of it.
func (l *lio) add(ctx context.Context, device string, _ bool) error {
	all, _, err := l.read(ctx)
	if err != nil {
		return err
	}
	if err := l.server.await(ctx, device); err != nil {
		return err
	}
	store := l.stores(device)[0]
	var lines []string
	if !all.of(store, device) { // an add that was killed may have left it
		lines = append(lines, blockStore+" create name="+store+" dev="+device)
	}
	lines = append(lines,
		blockStore+"/"+store+" set attribute emulate_tpu=1",
		"/iscsi/"+l.target+"/"+l.group+"/luns create "+blockStore+"/"+store)
	return l.apply(ctx, lines, func(_ saved, luns map[string]int) bool {
		_, ok := luns[blockStore+"/"+store]
		return ok
	})
}

// remove takes back the LUN and its storage object, which holds the device.
func (l *lio) remove(ctx context.Context, device string) error {
	all, luns, err := l.read(ctx)
	if err != nil {
		return err
	}
	var lines []string
	store := ""
	for _, name := range l.stores(device) {
		number, given := luns[blockStore+"/"+name]
		if given {
			lines = append(lines, fmt.Sprintf("/iscsi/%s/%s/luns delete lun%d", l.target, l.group, number))
		}
		if given || all.of(name, device) {
			store = name
			lines = append(lines, blockStore+" delete "+name)
			break
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return l.apply(ctx, lines, func(all saved, luns map[string]int) bool {
		_, ok := luns[blockStore+"/"+store]
		return !ok && !all.of(store, device)
	})
}

// apply has one targetcli work on some lines, as it takes long to start, and saves what has
// come of it. It goes on after a line that fails and ends well all the same: whether it
// was done, the saved configuration tells.
func (l *lio) apply(ctx context.Context, lines []string, done func(saved, map[string]int) bool) error {
	out, err := l.server.do(ctx, strings.Join(append(lines, "saveconfig", "exit"), "\n")+"\n", "/usr/bin/targetcli")
	if err != nil || dry(ctx) {
		return err
	}
	all, luns, err := l.read(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if !done(all, luns) {
		return fmt.Errorf("targetcli on %s: %s", l.server.portal, answers(out))
	}
	return nil
}

// answers takes off what targetcli prints before its answers, and puts them on one line.
func answers(out string) string {
	var all []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "/>"))
		if line != "" && !strings.HasPrefix(line, "targetcli shell") && !strings.HasPrefix(line, "Copyright") && !strings.HasPrefix(line, "For help on") {
			all = append(all, line)
		}
	}
	return strings.Join(all, "; ")
}

// resized has nothing to do: the kernel of the server knows.
func (l *lio) resized(context.Context, string, int64) error { return nil }
