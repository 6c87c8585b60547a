package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/virtsmith/virtsmith/cmd/internal/script"
	"github.com/virtsmith/virtsmith/pkg/cli/pct"
	"github.com/virtsmith/virtsmith/pkg/lxc/lxctest"
)

func TestMain(m *testing.M) { script.Main(m, "pct", pct.Main) }

// TestScripts gives scripts, beside what all have:
//
//	$CT, $CT2, $CT3        numbers of guests that no other test of the machine uses
//	$TEMPLATE              the volume of a template of busybox; it is there after "template"
//	$BRIDGE, $NET          after "bridge": a bridge, and its network as "10.1.2."; the host is .1
//	template               makes the template; without containers the script is skipped, with the reason
//	bridge                 makes the bridge
//	eventually COMMAND…    repeats a command until it succeeds
//	gone ID…               nothing is left of the guest on the machine but its folder
func TestScripts(t *testing.T) {
	script.Run(t, func(p *testscript.Params) {
		setup := p.Setup
		p.Setup = func(e *testscript.Env) error {
			e.Setenv("TEMPLATE", "local:vztmpl/alpine-3.99-busybox_1_amd64.tar.gz")
			for _, name := range []string{"CT", "CT2", "CT3"} {
				e.Setenv(name, strconv.Itoa(lxctest.ID(e.T().(testing.TB))))
			}
			for _, dir := range []string{filepath.Dir(e.WorkDir), e.WorkDir} {
				// The users of an unprivileged container must get through.
				if err := os.Chmod(dir, 0o711); err != nil {
					return err
				}
			}
			if err := os.MkdirAll(filepath.Join(e.WorkDir, "etc/pve/nodes/pve1/lxc"), 0o755); err != nil {
				return err
			}
			lxctest.Ends(e.T().(testing.TB), e.WorkDir)
			return setup(e)
		}
		p.Cmds["template"] = template
		p.Cmds["bridge"] = bridge
		p.Cmds["eventually"] = eventually
		p.Cmds["gone"] = gone
	})
}

func TestEveryCommandHasAScript(t *testing.T) { script.Covers(t, pct.Tool()) }

func template(ts *testscript.TestScript, _ bool, _ []string) {
	lxctest.Require(script.TB(ts))
	made := lxctest.Busybox(script.TB(ts))
	to := filepath.Join(ts.MkAbs("var/lib/vz/template/cache"), filepath.Base(made))
	ts.Check(os.MkdirAll(filepath.Dir(to), 0o755))
	ts.Check(os.Rename(made, to))
}

func bridge(ts *testscript.TestScript, _ bool, _ []string) {
	name, network := lxctest.Bridge(script.TB(ts))
	ts.Setenv("BRIDGE", name)
	ts.Setenv("NET", network)
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: eventually COMMAND…")
	}
	const patience = 30 * time.Second
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if err := ts.Exec(args[0], args[1:]...); (err == nil) != neg {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %s", strings.Join(args, " "))
		}
	}
}

func gone(ts *testscript.TestScript, _ bool, args []string) {
	var ids []int
	for _, arg := range args {
		n, err := strconv.Atoi(arg)
		ts.Check(err)
		ids = append(ids, n)
	}
	if left := lxctest.Left(ts.MkAbs("."), ids...); len(left) > 0 {
		ts.Check(errors.New(fmt.Sprint("left behind: ", left)))
	}
}
