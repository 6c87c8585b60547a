// Package testiscsi gives tests an iSCSI target: tgtd, which needs nothing of the
// kernel, on a port of its own.
package testiscsi

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testdaemon"
)

// A Server is a running tgtd.
type Server struct {
	Portal string // its address with port

	t       testing.TB
	cmd     *exec.Cmd
	control string // tells its socket from those of others
	targets int
	dir     string
	ended   <-chan struct{}
}

// New starts a server, which ends with the test. The test is skipped, with the reason,
// where there can be none.
func New(t testing.TB) *Server {
	t.Helper()
	for _, program := range []string{"tgtd", "tgtadm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs an iSCSI target: %v", err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: tgtd has its socket below /run")
	}
	port := freePort(t)
	const controls = 1 << 15 // tgtd takes no higher number
	s := &Server{t: t, Portal: "127.0.0.1:" + strconv.Itoa(port), control: strconv.Itoa(port % controls), dir: t.TempDir()}
	var said bytes.Buffer
	// It ignores SIGTERM.
	s.cmd = exec.Command("tgtd", "-f", "-C", s.control, "--iscsi", "portal="+s.Portal)
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	var err error
	if s.ended, err = testdaemon.Start(s.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	for range 300 {
		select {
		case <-s.ended:
			t.Fatalf("tgtd has ended:\n%s", &said)
		default:
		}
		if err := exec.Command("tgtadm", "-C", s.control, "--lld", "iscsi", "--op", "show", "--mode", "target").Run(); err == nil {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.Kill()
	t.Fatalf("tgtd does not answer:\n%s", &said)
	return nil
}

// freePort returns a port of loopback that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Kill ends the server, as a crash would.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	_ = os.Remove("/run/tgtd/socket." + s.control)
	_ = os.Remove("/run/tgtd/socket." + s.control + ".lock")
}

// Hang stops the server where it stands. It goes on with Resume.
func (s *Server) Hang() { s.signal(syscall.SIGSTOP) }

// Resume lets a hanging server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// A Target is one target of a server.
type Target struct {
	Name string

	s    *Server
	tid  string
	luns int
}

// Target adds a target that lets in the given initiators: all without any.
func (s *Server) Target(initiators ...string) *Target {
	s.t.Helper()
	s.targets++
	target := &Target{s: s, tid: strconv.Itoa(s.targets), Name: fmt.Sprintf("iqn.2003-01.org.example:%s-%d", s.control, s.targets)}
	s.admin("new", "target", "--tid", target.tid, "-T", target.Name)
	if len(initiators) == 0 {
		s.admin("bind", "target", "--tid", target.tid, "-I", "ALL")
	}
	for _, name := range initiators {
		s.admin("bind", "target", "--tid", target.tid, "-Q", name)
	}
	return target
}

// Password lets in only those who know the password of a user.
func (t *Target) Password(user, password string) {
	t.s.t.Helper()
	t.s.admin("new", "account", "--user", user, "--password", password)
	t.s.admin("bind", "account", "--tid", t.tid, "--user", user)
}

// LUN adds a disk of zeros of the given size and returns its number, which counts from
// 1, and the file it is kept in.
func (t *Target) LUN(size int64) (number int, file string) {
	t.s.t.Helper()
	t.luns++
	file = filepath.Join(t.s.dir, t.tid+"-"+strconv.Itoa(t.luns))
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.s.t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.s.t.Fatal(err)
	}
	t.AddFile(t.luns, file)
	return t.luns, file
}

// AddFile adds a disk that is kept in the given file.
func (t *Target) AddFile(number int, file string) {
	t.s.t.Helper()
	lun := []string{"--tid", t.tid, "--lun", strconv.Itoa(number)}
	t.s.admin("new", "logicalunit", append(lun, "-b", file)...)
	t.s.admin("update", "logicalunit", append(lun, "--params", fmt.Sprintf("scsi_sn=vs%s%s%d,scsi_id=IET%s%s%d", t.s.control, t.tid, number, t.s.control, t.tid, number))...)
}

func (s *Server) admin(op, mode string, args ...string) {
	s.t.Helper()
	args = append([]string{"-C", s.control, "--lld", "iscsi", "--op", op, "--mode", mode}, args...)
	if out, err := exec.Command("tgtadm", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("tgtadm %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
