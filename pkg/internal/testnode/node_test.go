package testnode

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These are about the node itself: they run inside.

// full skips what only make test-storage has the time for.
func full(t *testing.T) {
	t.Helper()
	if os.Getenv("VIRTSMITH_TEST_ALL") != "1" {
		t.Skip("make test-storage runs this")
	}
}

func TestNodeDeviceMapper(t *testing.T) {
	Need(t, "device-mapper")
	disk := Disk(t, 0)
	must(t, "vgcreate", "vg", disk)
	t.Cleanup(func() { must(t, "vgremove", "-ff", "-y", "vg") })
	must(t, "lvcreate", "-y", "-L", "100m", "-n", "plain", "vg")
	must(t, "lvcreate", "-y", "-L", "1g", "-T", "vg/pool")
	must(t, "lvcreate", "-y", "-V", "2g", "-T", "vg/pool", "-n", "thin")
	must(t, "lvcreate", "-y", "-s", "vg/thin", "-n", "snap")
	holds(t, "/dev/vg/plain")
	holds(t, "/dev/vg/thin")
}

// holds writes to a device or file past the cache and reads it again.
func holds(t *testing.T, path string) {
	t.Helper()
	must(t, "dd", "if=/etc/passwd", "of="+path, "bs=4096", "count=1", "conv=fsync,sync,notrunc", "status=none")
	if out := must(t, "dd", "if="+path, "bs=4096", "count=1", "iflag=direct", "status=none"); !strings.HasPrefix(out, "root:") {
		t.Errorf("%s holds %.20q", path, out)
	}
}

func TestNodeNFS(t *testing.T) {
	for _, version := range []string{"3", "4.2"} {
		t.Run("version "+version, func(t *testing.T) {
			if version == "3" {
				full(t)
			}
			export, at := t.TempDir(), t.TempDir()
			server := NFS(t, export)
			must(t, "mount", "-t", "nfs", "-o", "vers="+version+",soft,timeo=10,retrans=1", "127.0.0.1:"+export, at)
			t.Cleanup(func() { must(t, "umount", "-l", at) })
			holds(t, filepath.Join(at, "file"))
			restore := Drop(t, NFSPorts()...)
			if out, err := exec.Command("timeout", "1", "stat", filepath.Join(at, "other")).CombinedOutput(); err == nil {
				t.Errorf("a server out of reach answered: %s", out)
			}
			restore()
			server.Stop()
			server.Resume()
			holds(t, filepath.Join(at, "file"))
		})
	}
}

func TestNodeCIFS(t *testing.T) {
	Need(t, "cifs")
	export, at := t.TempDir(), t.TempDir()
	Samba(t, "anna", "secret", map[string]string{"share": export})
	if exec.Command("mount", "-t", "cifs", "-o", "username=anna,password=wrong", "//127.0.0.1/share", at).Run() == nil {
		t.Error("mounted with a wrong password")
	}
	must(t, "mount", "-t", "cifs", "-o", "username=anna,password=secret", "//127.0.0.1/share", at)
	t.Cleanup(func() { must(t, "umount", "-l", at) })
	holds(t, filepath.Join(at, "file"))
}

// disk makes a file of 64 MiB to serve.
func disk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNodeISCSI(t *testing.T) {
	const iqn = "iqn.2020-01.test.node:target"
	for name, serve := range map[string]func(*testing.T, Target){
		"tgt": func(t *testing.T, target Target) { TGT(t, target) },
		"lio": func(t *testing.T, target Target) { LIO(t, target) },
	} {
		for _, user := range []string{"", "bert"} {
			t.Run(strings.Trim(name+" "+user, " "), func(t *testing.T) {
				if (name == "lio") == (user == "") {
					full(t)
				}
				serve(t, Target{IQN: iqn, LUNs: []string{disk(t)}, User: user, Password: "secretsecret"})
				Initiator(t)
				if out := must(t, "iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", "127.0.0.1"); !strings.Contains(out, iqn) {
					t.Fatalf("discovered %q", out)
				}
				if user != "" {
					for key, value := range map[string]string{"authmethod": "CHAP", "username": user, "password": "secretsecret"} {
						must(t, "iscsiadm", "-m", "node", "-T", iqn, "-o", "update", "-n", "node.session.auth."+key, "-v", value)
					}
				}
				must(t, "iscsiadm", "-m", "node", "-T", iqn, "-p", "127.0.0.1", "--login")
				holds(t, appears(t, "/dev/disk/by-path/ip-127.0.0.1:3260-iscsi-"+iqn+"-lun-*"))
			})
		}
	}
}

// appears waits for a device that udev links.
func appears(t *testing.T, pattern string) string {
	t.Helper()
	for range 400 {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no %s came up", pattern)
	return ""
}

func TestNodeSSH(t *testing.T) {
	key := SSH(t)
	if out := must(t, "ssh", "-o", "BatchMode=yes", "-i", key, "root@127.0.0.1", "echo", "hello"); out != "hello\n" {
		t.Errorf("ssh said %q", out)
	}
}

func TestNodeKernelModules(t *testing.T) {
	Need(t, "rbd", "ceph", "btrfs", "xfs", "nbd", "loop")
}

func TestNodeZFS(t *testing.T) {
	Need(t, "zfs")
	must(t, "zpool", "create", "tank", Disk(t, 1))
	t.Cleanup(func() { must(t, "zpool", "destroy", "tank") })
	must(t, "zfs", "create", "-V", "64m", "tank/vol")
	must(t, "zfs", "create", "-s", "-V", "64m", "tank/sparse")
	must(t, "zfs", "snapshot", "tank/vol@one")
	must(t, "zfs", "clone", "tank/vol@one", "tank/clone")
	for _, name := range []string{"vol", "sparse", "clone"} {
		holds(t, appears(t, "/dev/zvol/tank/"+name))
	}
}
