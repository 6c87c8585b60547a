package guestagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestOption(t *testing.T) {
	for text, want := range map[string]struct{ on, freezes, trims bool }{
		"":                           {},
		"0":                          {},
		"1":                          {true, true, false},
		"enabled=1,freeze-fs=0":      {true, false, false},
		"1,guest-fsfreeze=0":         {true, false, false},
		"1,fstrim_cloned_disks=1":    {true, true, true},
		"0,fstrim_cloned_disks=1":    {},
		"1,freeze-fs-on-backup=1":    {true, true, false},
		"enabled=0,freeze-fs=1":      {},
		"1,type=isa,freeze-fs=1":     {true, true, false},
		"enabled=1,type=virtio":      {true, true, false},
		"1,fstrim_cloned_disks=0":    {true, true, false},
		"fstrim_cloned_disks=1,1":    {true, true, true},
		"1,freeze-fs=0,type=virtio":  {true, false, false},
		"enabled=1,guest-fsfreeze=1": {true, true, false},
	} {
		t.Run(text, func(t *testing.T) {
			var c qemu.Config
			if text != "" {
				if err := schema.Decode(schema.Params{"agent": text}, &c); err != nil {
					t.Fatal(err)
				}
			}
			if on := Check(&c) == nil; on != want.on || Freezes(&c) != want.freezes || Trims(&c) != want.trims {
				t.Errorf("on %v, freezes %v, trims %v", on, Freezes(&c), Trims(&c))
			}
		})
	}
}

// TestConformanceCommands compares the commands with the interface specification.
func TestConformanceCommands(t *testing.T) {
	raw, err := os.ReadFile(conformance.Spec(t, "api.json"))
	if err != nil {
		t.Skip("the interface specification is not on this machine")
	}
	type method struct {
		Permissions struct{ Check []any }
		Parameters  struct {
			Properties map[string]struct{ Enum []string }
		}
	}
	var spec struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	const agent = "/nodes/{node}/qemu/{vmid}/agent"
	read := func(path, verb string) (m method) {
		if err := json.Unmarshal(spec.Paths[path][verb], &m); err != nil {
			t.Fatalf("%s %s: %v", verb, path, err)
		}
		return m
	}
	var names []string
	for _, c := range Commands() {
		names = append(names, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			var privileges []string
			for _, p := range read(agent+"/"+c.Name, c.Verb).Permissions.Check[2].([]any) {
				privileges = append(privileges, p.(string))
			}
			if diff := cmp.Diff(privileges, c.Privileges); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff(read(agent, "POST").Parameters.Properties["command"].Enum, names); diff != "" {
		t.Error(diff)
	}
	if _, ok := Find("exec"); ok {
		t.Error("exec is no command without parameters")
	}
}

// TestRealAgent runs all commands that leave the guest as it is in the test guest.
func TestRealAgent(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("qemu-system-x86_64 is not on this machine")
	}
	if testing.Short() {
		t.Skip("boots a guest")
	}
	dir, socket := testguest.Dir(t), filepath.Join(t.TempDir(), "qga")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var console bytes.Buffer
	p, err := run.Host{}.Start(ctx, run.Cmd{Path: "qemu-system-x86_64", Args: []string{
		"-machine", "pc,accel=tcg", "-m", "256", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none",
		"-kernel", dir + "/vmlinuz", "-initrd", dir + "/initrd.img", "-append", "console=ttyS0 quiet mitigations=off ghost=asked gip=10.0.0.1/24",
		"-chardev", "socket,id=c,path=" + socket + ",server=on,wait=off", "-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=c,name=org.qemu.guest_agent.0",
	}, Stdout: &console, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	defer func() { cancel(); <-ended }()
	agent := dial(ctx, t, socket)
	defer agent.Close()
	for _, c := range Commands() {
		if c.Silent || c.Name == "fsfreeze-freeze" {
			continue
		}
		answer, err := c.Run(ctx, agent)
		if err != nil && !strings.Contains(err.Error(), "not") { // not supported by so small a guest
			t.Errorf("%s: %v", c.Name, err)
		}
		if c.Name == "get-host-name" && !strings.Contains(string(answer), `"asked"`) {
			t.Errorf("%s: %s", c.Name, answer)
		}
	}
	down, _ := Find("shutdown")
	if answer, err := down.Run(ctx, agent); err != nil || string(answer) != "null" {
		t.Errorf("shutdown: %s, %v", answer, err)
	}
	select {
	case err := <-ended:
		ended <- err
	case <-time.After(30 * time.Second):
		t.Error("the guest did not shut down")
	}
}

// dial waits until the agent answers.
func dial(ctx context.Context, t *testing.T, socket string) *qmp.Agent {
	t.Helper()
	for {
		agent, err := qmp.DialAgent(ctx, socket)
		if err == nil {
			return agent
		}
		select {
		case <-ctx.Done():
			t.Fatal(errors.Join(ctx.Err(), err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
