package lvmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Recorder is an LVM in memory: it reports the volumes it is said to have, renames and
// removes them, and keeps what else it was asked for.
type Recorder struct {
	// Volumes are lines "name attributes pool tags", with a - for no pool.
	Volumes []string
	// Answers are what other programs print, by their command lines.
	Answers map[string]string

	mu      sync.Mutex
	changes []string
}

// Changes returns the command lines that changed something.
func (r *Recorder) Changes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

// Run runs a program.
func (r *Recorder) Run(_ context.Context, c run.Cmd) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := strings.Join(append([]string{c.Path}, c.Args...), " ")
	for begin, answer := range r.Answers {
		if strings.HasPrefix(line, begin) {
			_, err := c.Stdout.Write([]byte(answer))
			return err
		}
	}
	switch c.Path {
	case "lvs":
		_, err := c.Stdout.Write([]byte(r.report()))
		return err
	case "vgs":
		_, err := fmt.Fprintf(c.Stdout, `{"report":[{"vg":[{"vg_name":"%s","vg_size":"1073741824","vg_free":"1073741824","vg_extent_size":"4194304","lv_count":"0"}]}]}`, VG)
		return err
	}
	if c.ReadOnly {
		return &run.Error{Cmd: c, ExitCode: -1, Err: run.ErrUnexpected}
	}
	r.changes = append(r.changes, line)
	switch c.Path {
	case "lvrename":
		for i, v := range r.Volumes {
			if rest, ok := strings.CutPrefix(v, c.Args[1]+" "); ok {
				r.Volumes[i] = c.Args[2] + " " + rest
			}
		}
	case "lvremove":
		name := strings.TrimPrefix(c.Args[1], VG+"/")
		r.Volumes = slices.DeleteFunc(r.Volumes, func(v string) bool { return strings.HasPrefix(v, name+" ") })
	case "lvcreate":
		r.created(c.Args)
	}
	return nil
}

// created adds what lvcreate makes.
func (r *Recorder) created(args []string) {
	name, attr, pool := "", "-wi-a-----", "-"
	for i, a := range args {
		switch a {
		case "--name", "-n":
			name = args[i+1]
		case "-s", "--thinpool":
			attr, pool = "Vwi-a-tz--", "data"
		}
	}
	r.Volumes = append(r.Volumes, name+" "+attr+" "+pool)
}

func (r *Recorder) report() string {
	var rows []string
	for _, line := range r.Volumes {
		f := append(strings.Fields(line), "")
		rows = append(rows, fmt.Sprintf(`{"vg_name":"%s","lv_name":"%s","lv_attr":"%s","pool_lv":"%s","lv_tags":"%s","lv_size":"8388608","lv_time":"1795396409"}`,
			VG, f[0], f[1], strings.Trim(f[2], "-"), f[3]))
	}
	return `{"report":[{"lv":[` + strings.Join(rows, ",") + `]}]}`
}
