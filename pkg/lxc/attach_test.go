package lxc_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/run"
)

func TestCommands(t *testing.T) {
	for name, c := range map[string]struct {
		got  []string
		want string
	}{
		"shell":   {lxc.Attach{Name: "100", Path: "/l"}.Command(), "lxc-attach -n 100 -P /l --clear-env"},
		"program": {lxc.Attach{Name: "100", Path: "/l", KeepEnv: true, Env: []string{"A=b"}, Args: []string{"ls", "-l"}}.Command(), "lxc-attach -n 100 -P /l --keep-env --set-var A=b -- ls -l"},
		"console": {lxc.Console{Name: "100", Path: "/l"}.Command(), "lxc-console -n 100 -P /l -t 0 -e -1"},
		"free":    {lxc.Console{Name: "100", Path: "/l", TTY: -1, Escape: "^a"}.Command(), "lxc-console -n 100 -P /l -e ^a"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(strings.Fields(c.want), c.got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAttach(t *testing.T) {
	testct.Require(t)
	lxcpath := filepath.Join(testct.Root(t), "var/lib/lxc")
	s := container(t, lxcpath, testct.ID(t), "lxc.net.0.type = empty\n")
	if err := s.Run(t.Context(), run.Host{}); err != nil {
		t.Fatal(err)
	}
	testct.Up(t, filepath.Join(lxcpath, s.Name))
	t.Setenv("OURS", "x")
	line := lxc.Attach{Name: s.Name, Path: lxcpath, Env: []string{"A=b c"}, Args: []string{"/bin/sh", "-c", "echo $A$OURS $(hostname); exit 7"}}.Command()
	out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); !ok || failed.ExitCode() != 7 || string(out) != "b c testct\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestOffers(t *testing.T) {
	proc, sys := t.TempDir(), t.TempDir()
	if got := lxc.Offers(proc, sys, true); got != (lxc.Kernel{Unified: true}) {
		t.Errorf("%+v", got)
	}
	for path, text := range map[string]string{
		filepath.Join(sys, "module/apparmor/parameters/enabled"): "Y\n",
		filepath.Join(proc, "sys/kernel/seccomp/actions_avail"):  "kill_process errno allow\n",
		filepath.Join(proc, "self/ns/cgroup"):                    "",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := lxc.Offers(proc, sys, false); got != (lxc.Kernel{AppArmor: true, Seccomp: true, CgroupNS: true}) {
		t.Errorf("%+v", got)
	}
}
