package lxc

import (
	"slices"
	"testing"
)

// TestUnit: with systemd, the same lxc-start is what a unit runs.
func TestUnit(t *testing.T) {
	s := Start{Name: "100", Path: "/var/lib/lxc", Env: []string{"KEY=a b"}}
	plain := s.Command()
	s.Unit = "pve-container@100.service"
	unit := s.Command()
	at := slices.Index(unit.Args, "--")
	if unit.Path != "systemd-run" || at < 0 || !slices.Equal(unit.Args[at+1:], append([]string{plain.Path}, plain.Args...)) {
		t.Fatalf("%s %q", unit.Path, unit.Args)
	}
	for _, want := range []string{"--unit=pve-container@100.service", "--property=Delegate=yes", "--property=PIDFile=/var/lib/lxc/100/monitor.pid", "--setenv=KEY=a b"} {
		if !slices.Contains(unit.Args[:at], want) {
			t.Errorf("no %s in %q", want, unit.Args)
		}
	}
}
