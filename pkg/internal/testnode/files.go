package testnode

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// NFSPorts are the TCP ports a kernel NFS server is asked on, for Drop.
func NFSPorts() []int { return []int{111, 2049, 20048} }

// NFSServer is the node's kernel NFS server, with the exports of one test.
type NFSServer struct{ t testing.TB }

// NFS exports folders to this machine, by versions 3 and 4, until the test ends.
// The folders must be on a disk: a tmpfs has no identity to export.
func NFS(t testing.TB, dirs ...string) *NFSServer {
	t.Helper()
	Need(t, "nfs")
	if _, err := os.Stat("/proc/fs/nfsd/threads"); err != nil {
		must(t, "mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
	}
	Start(t, 111, "rpcbind", "-f", "-w")
	Start(t, 0, "rpc.statd", "-F", "--no-notify")
	n := &NFSServer{t: t}
	for i, dir := range dirs {
		must(t, "exportfs", "-i", "-o", fmt.Sprintf("rw,no_root_squash,insecure,no_subtree_check,fsid=%d", 1000+i), "127.0.0.1:"+dir)
		t.Cleanup(func() { must(t, "exportfs", "-u", "127.0.0.1:"+dir) })
	}
	Start(t, 20048, "rpc.mountd", "-F", "-p", "20048")
	n.Resume()
	t.Cleanup(n.Stop)
	return n
}

// Stop ends the server as a shutdown does: clients get no answer any more.
func (n *NFSServer) Stop() { must(n.t, "rpc.nfsd", "0") }

// Resume starts the server again, and does not wait for clients of before.
func (n *NFSServer) Resume() {
	must(n.t, "rpc.nfsd", "--grace-time", "10", "--lease-time", "10", "4")
	// Without this the first file of version 4 would wait for the grace time.
	_ = os.WriteFile("/proc/fs/nfsd/v4_end_grace", []byte("Y\n"), 0o600)
}

// Samba serves folders by SMB 2 and 3 under the given share names to one user,
// until the test ends.
func Samba(t testing.TB, user, password string, shares map[string]string) *Server {
	t.Helper()
	inside(t, "Samba")
	dir := t.TempDir()
	conf := filepath.Join(dir, "smb.conf")
	text := &strings.Builder{}
	fmt.Fprintf(text, "[global]\nworkgroup = TEST\nserver role = standalone server\nbind interfaces only = yes\ninterfaces = lo\n"+
		"map to guest = never\nload printers = no\ndisable spoolss = yes\nlog file = %[1]s/log\nstate directory = %[1]s\ncache directory = %[1]s\n"+
		"lock directory = %[1]s\nprivate dir = %[1]s\npid directory = %[1]s\nncalrpc dir = %[1]s/rpc\nserver min protocol = SMB2\n", dir)
	for name, path := range shares {
		fmt.Fprintf(text, "[%s]\npath = %s\nread only = no\nvalid users = %s\nforce user = root\n", name, path, user)
	}
	write(t, conf, text.String())
	must(t, "useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", user)
	t.Cleanup(func() { must(t, "userdel", user) })
	feed(t, password+"\n"+password+"\n", "smbpasswd", "-c", conf, "-s", "-a", user)
	return Start(t, 445, "smbd", "--foreground", "--no-process-group", "--configfile", conf)
}

// FileSystem mounts an ext4 of its own, of the given size, for a server to export one that
// gets full. It is unmounted when the test ends.
func FileSystem(t testing.TB, mib int) string {
	t.Helper()
	Need(t, "loop")
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	for _, args := range [][]string{
		{"truncate", "-s", fmt.Sprintf("%dM", mib), image},
		{"mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image},
		{"mkdir", at}, {"mount", "-o", "loop", image, at},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return at
}
