package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

func TestAgentInGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a guest")
	}
	dir := testguest.Dir(t)
	socket := filepath.Join(t.TempDir(), "ga")
	_, monitor := start(t, "-machine", "pc", "-cpu", "qemu64", "-m", "256", "-kernel", dir+"/vmlinuz", "-initrd", dir+"/initrd.img",
		"-append", "console=ttyS0 quiet mitigations=off ghost=agent-test", "-device", "virtio-serial", "-no-reboot",
		"-chardev", "socket,id=ga,path="+socket+",server=on,wait=off", "-device", "virtserialport,chardev=ga,name=org.qemu.guest_agent.0")
	m := dial(t, monitor)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	// not one agent answers before the guest has booted; the first that does is late for the earlier calls
	var a *qmp.Agent
	for a == nil {
		var err error
		if a, err = qmp.DialAgent(ctx, socket); err != nil && !errors.Is(err, qmp.ErrNoAgent) {
			t.Fatal(err)
		}
	}
	defer a.Close()
	if err := a.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	var host struct {
		Name string `json:"host-name"`
	}
	if err := a.Call(ctx, "guest-get-host-name", nil, &host); err != nil || host.Name != "agent-test" {
		t.Errorf("%v, %v", host, err)
	}
	if err := a.Call(ctx, "guest-no-such", nil, nil); !qmp.HasClass(err, qmp.CommandNotFound) {
		t.Errorf("unknown command: %v", err)
	}
	out, err := a.Exec(ctx, []string{"/bin/sh", "-c", "cat; echo err >&2; exit 3"}, []byte("in"))
	if err != nil || out.Code == nil || *out.Code != 3 || string(out.Out) != "in" || string(out.Err) != "err\n" {
		t.Errorf("%+v, %v", out, err)
	}
	big, err := a.Exec(ctx, []string{"/bin/sh", "-c", "seq 200000"}, nil)
	if err != nil || len(big.Out) < 1_000_000 {
		t.Errorf("%d bytes, %v", len(big.Out), err)
	}
	// a call given up, then one that must not get its answer
	if err := a.CallFor(ctx, time.Nanosecond, "guest-get-host-name", nil, nil); !errors.Is(err, qmp.ErrTimeout) {
		t.Errorf("no patience: %v", err)
	}
	if err := a.Call(ctx, "guest-get-host-name", nil, &host); err != nil || host.Name != "agent-test" {
		t.Errorf("%v, %v", host, err)
	}
	sub := m.Subscribe("SHUTDOWN")
	if err := a.Tell(ctx, "guest-shutdown", nil); err != nil {
		t.Error(err)
	}
	e, err := sub.Next(ctx)
	var why struct {
		Guest  bool
		Reason string
	}
	if err == nil {
		err = e.Decode(&why)
	}
	if err != nil || !why.Guest || why.Reason != "guest-shutdown" {
		t.Errorf("%+v, %v", why, err)
	}
}

// talk is an agent that answers as told, on one connection after another.
func talk(t *testing.T, answer func(command string, id int64) string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "ga")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				var r struct {
					Execute   string
					Arguments struct{ ID int64 }
				}
				json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "\xff")), &r)
				fmt.Fprint(conn, answer(r.Execute, r.Arguments.ID))
			}
			conn.Close()
		}
	}()
	return socket
}

func TestAgentAfterOthers(t *testing.T) {
	calls := 0
	socket := talk(t, func(command string, id int64) string {
		if command == "guest-sync-delimited" {
			// what an earlier client left unread, in whole and in part
			return fmt.Sprintf("{\"return\": {\"old\": 1}}\n{\"error\": {\"class\": \"x\"\xff{\"return\": %d}\n", id)
		}
		if calls++; calls == 1 {
			return "" // never answers the first
		}
		return "{\"return\": {\"call\": 2}}\n"
	})
	a, err := qmp.DialAgent(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	err = a.CallFor(t.Context(), 20*time.Millisecond, "guest-info", nil, nil)
	if !errors.Is(err, qmp.ErrTimeout) || err.Error() != "qga command 'guest-info' failed - got timeout" {
		t.Errorf("%v", err)
	}
	var got struct{ Call int }
	if err := a.Call(t.Context(), "guest-info", nil, &got); err != nil || got.Call != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAgentSilent(t *testing.T) {
	socket := talk(t, func(string, int64) string { return "" })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := qmp.DialAgent(ctx, socket); !errors.Is(err, qmp.ErrNoAgent) {
		t.Errorf("%v", err)
	}
}
