package testnode

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Target is an iSCSI target to serve on port 3260 of this machine.
type Target struct {
	IQN            string
	LUNs           []string // files or devices: the first is LUN 1 of TGT, LUN 0 of LIO
	User, Password string   // CHAP, when a user is given
}

// TGT serves targets from a daemon, which can be frozen and killed.
func TGT(t testing.TB, targets ...Target) *Server {
	t.Helper()
	inside(t, "tgtd")
	s := Start(t, 3260, "tgtd", "-f", "--iscsi", "portal=127.0.0.1:3260")
	admin := func(args ...string) { must(t, "tgtadm", append([]string{"--lld", "iscsi"}, args...)...) }
	for i, target := range targets {
		tid := strconv.Itoa(i + 1)
		admin("--mode", "target", "--op", "new", "--tid", tid, "-T", target.IQN)
		for lun, path := range target.LUNs {
			admin("--mode", "logicalunit", "--op", "new", "--tid", tid, "--lun", strconv.Itoa(lun+1), "-b", path)
		}
		if target.User != "" {
			admin("--mode", "account", "--op", "new", "--user", target.User, "--password", target.Password)
			admin("--mode", "account", "--op", "bind", "--tid", tid, "--user", target.User)
		}
		admin("--mode", "target", "--op", "bind", "--tid", tid, "-I", "ALL")
	}
	return s
}

// LIO serves targets from the node's kernel until the test ends, and allows each
// initiator in. A target without LUNs waits for targetcli to add some.
func LIO(t testing.TB, targets ...Target) {
	t.Helper()
	Need(t, "lio")
	if _, err := os.Stat("/sys/kernel/config/target"); err != nil {
		must(t, "mount", "-t", "configfs", "configfs", "/sys/kernel/config")
	}
	if err := os.MkdirAll("/etc/rtslib-fb-target", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, "targetctl", "clear") })
	// One call for all: each start of targetcli takes seconds.
	var script []string
	for i, target := range targets {
		group := "/iscsi/" + target.IQN + "/tpg1"
		script = append(script, "/iscsi create "+target.IQN)
		for lun, path := range target.LUNs {
			name := "store" + strconv.Itoa(i) + "-" + strconv.Itoa(lun)
			kind := "fileio create name=" + name + " file_or_dev="
			if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeDevice != 0 {
				kind = "block create name=" + name + " dev="
			}
			script = append(script, "/backstores/"+kind+path)
			store, _, _ := strings.Cut(kind, " ")
			script = append(script, group+"/luns create /backstores/"+store+"/"+name)
		}
		auth := "0"
		if target.User != "" {
			auth = "1"
			script = append(script, group+" set auth userid="+target.User+" password="+target.Password)
		}
		script = append(script, group+" set attribute generate_node_acls=1 demo_mode_write_protect=0 cache_dynamic_acls=1 authentication="+auth)
	}
	out := feed(t, strings.Join(script, "\n")+"\nexit\n", "targetcli")
	for _, target := range targets {
		if _, err := os.Stat("/sys/kernel/config/target/iscsi/" + target.IQN + "/tpgt_1"); err != nil {
			t.Fatalf("targetcli: %v: %s", err, out)
		}
	}
}

// Initiator runs the daemon that iscsiadm asks, and logs out of all targets at
// the end of the test.
func Initiator(t testing.TB) *Server {
	t.Helper()
	Need(t, "iscsi")
	write(t, "/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2020-01.test.node:initiator\n")
	if err := os.MkdirAll("/run/lock/iscsi", 0o700); err != nil {
		t.Fatal(err)
	}
	s := Start(t, 0, "iscsid", "-f")
	t.Cleanup(func() {
		// Both fail when there is nothing to log out of.
		_ = exec.Command("timeout", "60", "iscsiadm", "-m", "node", "-U", "all").Run()
		_ = exec.Command("timeout", "60", "iscsiadm", "-m", "node", "-o", "delete").Run()
	})
	for range 400 {
		if raw, err := os.ReadFile("/proc/net/unix"); err == nil && strings.Contains(string(raw), "@ISCSIADM_ABSTRACT_NAMESPACE") {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("iscsid does not listen")
	return s
}

// SSH runs a server on port 22 until the test ends, which lets root in with the
// key whose path is returned, and which root's client knows.
func SSH(t testing.TB) string {
	t.Helper()
	inside(t, "sshd")
	key := filepath.Join(t.TempDir(), "key")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/root/.ssh", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, "/root/.ssh/authorized_keys", string(public))
	host, err := os.ReadFile("/etc/ssh/ssh_host_ed25519_key.pub")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "/root/.ssh/known_hosts", "127.0.0.1,localhost,node "+string(host))
	Start(t, 22, "/usr/sbin/sshd", "-D", "-e")
	return key
}
