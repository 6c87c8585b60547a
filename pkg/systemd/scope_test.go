package systemd

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// fake remembers what it is asked for.
type fake struct {
	result string
	states []string // answers in turn, the last one for ever
	calls  []string
	props  map[string]any
}

func (f *fake) take(call string, props []dbus.Property) {
	f.calls = append(f.calls, call)
	f.props = map[string]any{}
	for _, p := range props {
		f.props[p.Name] = p.Value.Value()
	}
}

func (f *fake) StartTransientUnitContext(_ context.Context, name, mode string, props []dbus.Property, done chan<- string) (int, error) {
	f.take("start "+name+" "+mode, props)
	done <- f.result
	return 1, nil
}

func (f *fake) StopUnitContext(_ context.Context, name, mode string, done chan<- string) (int, error) {
	f.take("stop "+name+" "+mode, nil)
	done <- f.result
	return 1, nil
}

func (f *fake) ResetFailedUnitContext(_ context.Context, name string) error {
	f.take("reset "+name, nil)
	return nil
}

func (f *fake) SetUnitPropertiesContext(_ context.Context, name string, runtime bool, props ...dbus.Property) error {
	f.take("set "+name, props)
	if !runtime {
		return errors.New("for ever")
	}
	return nil
}

func (f *fake) GetUnitPropertyContext(_ context.Context, _, name string) (*dbus.Property, error) {
	state := f.states[0]
	if len(f.states) > 1 {
		f.states = f.states[1:]
	}
	return &dbus.Property{Name: name, Value: godbus.MakeVariant(state)}, nil
}

func (f *fake) Close() {}

func TestStartScope(t *testing.T) {
	f := &fake{result: "done"}
	s := Scope{Name: "100.scope", Slice: "qemu.slice", Description: "VM 100", PID: 42, Limits: Limits{CPUs: 1.5, Units: 100, Unified: true}}
	if err := (&Bus{f}).StartScope(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"Description": "VM 100", "Slice": "qemu.slice", "PIDs": []uint32{42}, "KillMode": "process", "SendSIGKILL": false,
		"TimeoutStopUSec": uint64(math.MaxUint64), "CPUQuotaPerSecUSec": uint64(1500000), "CPUWeight": uint64(100),
	}
	if diff := cmp.Diff(want, f.props); diff != "" {
		t.Error(diff)
	}
	f.result = "failed"
	if err := (&Bus{f}).StartScope(t.Context(), s); !errors.Is(err, ErrJob) || err.Error() != "start scope 100.scope: job did not succeed: failed" {
		t.Errorf("got %v", err)
	}
}

func TestLimit(t *testing.T) {
	f := &fake{}
	if err := (&Bus{f}).Limit(t.Context(), "100.scope", Limits{Units: 1024}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"CPUQuotaPerSecUSec": uint64(math.MaxUint64), "CPUShares": uint64(1024)}
	if diff := cmp.Diff(want, f.props); diff != "" {
		t.Error(diff)
	}
}

func TestGone(t *testing.T) {
	f := &fake{states: []string{"deactivating", "failed", "inactive"}}
	if err := (&Bus{f}).Gone(t.Context(), "100.scope"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"reset 100.scope"}, f.calls); diff != "" {
		t.Error(diff)
	}
	f = &fake{states: []string{"active"}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := (&Bus{f}).Gone(ctx, "100.scope"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "scope 100.scope is still active") {
		t.Errorf("got %v", err)
	}
}

func TestDryRun(t *testing.T) {
	f := &fake{states: []string{"failed"}}
	b := &Bus{f}
	var out bytes.Buffer
	ctx := plan.With(t.Context(), plan.New(&out))
	err := errors.Join(b.Gone(ctx, "100.scope"), b.StartScope(ctx, Scope{Name: "100.scope", Slice: "qemu.slice"}), b.Limit(ctx, "100.scope", Limits{}), b.Stop(ctx, "100.scope"))
	want := "start scope 100.scope in qemu.slice\nlimit scope 100.scope\nstop scope 100.scope\n"
	if diff := cmp.Diff(want, out.String()); err != nil || diff != "" || f.calls != nil {
		t.Error(err, diff, f.calls)
	}
}

func TestRunning(t *testing.T) {
	root := t.TempDir()
	if Running(root) {
		t.Error("running without its folder")
	}
	if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !Running(root) {
		t.Error("not running with its folder")
	}
}

// TestReal needs a machine that systemd has started.
func TestReal(t *testing.T) {
	if !Running("") {
		t.Skip("systemd is not the first process of this machine")
	}
	if os.Getuid() != 0 {
		t.Skip("scopes of the system are made by root")
	}
	b, err := Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	live(t, b)
}

// live goes through the life of a scope.
func live(t *testing.T, b *Bus) {
	t.Helper()
	const name = "virtsmith-test.scope"
	sleep := exec.CommandContext(t.Context(), "sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = sleep.Wait(); close(ended) }()
	defer func() { _ = sleep.Process.Kill(); <-ended }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.Gone(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := b.StartScope(ctx, Scope{Name: name, Slice: "virtsmith-test.slice", Description: "test", PID: sleep.Process.Pid, Limits: Limits{CPUs: 0.5, Units: 512}}); err != nil {
		t.Fatal(err)
	}
	if state, err := b.state(ctx, name); err != nil || state != "active" {
		t.Errorf("state %s, %v", state, err)
	}
	if err := b.Limit(ctx, name, Limits{Units: 1024}); err != nil {
		t.Error(err)
	}
	if err := b.Stop(ctx, name); err != nil {
		t.Error(err)
	}
	<-ended
	if err := b.Gone(ctx, name); err != nil {
		t.Error(err)
	}
}
