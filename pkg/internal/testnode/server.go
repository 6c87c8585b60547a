package testnode

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a daemon started for one test, which ends with it.
type Server struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}
	log  *bytes.Buffer
}

// Start runs a daemon in the foreground until the test ends, and waits until it
// accepts connections on the TCP port of this machine; for port 0 it does not wait.
func Start(t testing.TB, port int, program string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, cmd: exec.Command(program, args...), done: make(chan struct{}), log: &bytes.Buffer{}}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.WaitDelay = time.Second
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		_ = s.cmd.Wait() // daemons end by a signal
	}()
	t.Cleanup(s.Kill)
	for wait := 0; port != 0; wait++ {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), time.Second)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case <-s.done:
			t.Fatalf("%s ended: %s", program, s.log)
		case <-time.After(50 * time.Millisecond):
		}
		if wait > 600 {
			t.Fatalf("%s does not listen on port %d", program, port)
		}
	}
	return s
}

// Kill ends the daemon and its children, as a crash would.
func (s *Server) Kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-s.done
}

// Freeze stops the daemon without ending it: its clients hang. Thaw goes on.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen daemon go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(what syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(-s.cmd.Process.Pid, what); err != nil {
		s.t.Fatal(err)
	}
}

// Drop throws away all packets to and from the TCP ports of this machine, until
// the function it returns is called or the test ends: clients hang, as when a
// cable is pulled.
func Drop(t testing.TB, ports ...int) func() {
	t.Helper()
	var list []string
	for _, port := range ports {
		list = append(list, strconv.Itoa(port))
	}
	set := "{ " + strings.Join(list, ", ") + " }"
	table := "testnode" + list[0]
	feed(t, "table inet "+table+" { chain input { type filter hook input priority 0; tcp dport "+set+" drop; tcp sport "+set+" drop; }; }",
		"nft", "-f", "-")
	dropping := true
	restore := func() {
		if dropping {
			dropping = false
			must(t, "nft", "delete", "table", "inet", table)
		}
	}
	t.Cleanup(restore)
	return restore
}

// must runs a program that has to succeed, and returns its output.
func must(t testing.TB, program string, args ...string) string {
	t.Helper()
	return feed(t, "", program, args...)
}

// feed is must with standard input.
func feed(t testing.TB, input, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// write puts text into a file of the node.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inside skips the test where daemons may not be started.
func inside(t testing.TB, what string) {
	t.Helper()
	if !Inside() {
		t.Skipf("starts %s: runs inside a node, see pkg/internal/testnode", what)
	}
}
