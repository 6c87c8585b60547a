package pct

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// mountCTs are containers that show how volumes, folders and devices are mounted.
func mountCTs() []keyCT { return []keyCT{points(), imageRoot(), frozenRoot(), quotaCT()} }

// mounted is a line of shell that prints the options of a mount, then those of its file system.
func mounted(at string) string {
	return fmt.Sprintf("awk '$5 == %q { print $6, $NF }' /proc/self/mountinfo", at)
}

// points is a container with mount points of each kind.
func points() keyCT {
	return keyCT{
		name: "points",
		lines: []string{
			"mp0: local:ID/vm-ID-disk-1.raw,mp=/vol,acl=1,backup=1,mountoptions=discard;lazytime;noatime;nodev;noexec;nosuid,replicate=0,shared=1,size=16M",
			"mp1: ROOT/srv/data,mp=/bind/data,mountoptions=noatime;nodev;noexec;nosuid,ro=1,shared=1",
			"mp2: volume=ROOT/srv/data,mp=/pass,idmap=passthrough",
			"mp3: ROOT/srv/data,mp=/ranges,idmap=u:1000:5:1;g:2000:5:1",
			"mp4: /dev/none,mp=/device",
			"mp5: local:ID/vm-ID-disk-2.raw,mp=/tmp,keepattrs=1,size=16M",
			"mp6: local:ID/subvol-ID-disk-3.subvol,mp=/folder/in/folder,size=0T",
			"mp7: local:ID/vm-ID-disk-4.raw,mp=/plain,ro=1,size=16M",
			"unused0: local:ID/vm-ID-disk-9.raw",
		},
		prepare: func(t *testing.T, l *keyLab) {
			l.write("srv/data/host", "of the host\n")
			l.write("srv/data/five", "of five\n")
			if err := os.Chown(l.path("srv/data/five"), 5, 5); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(l.path("srv"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{1, 2, 4, 9} {
				l.image(n, "")
			}
			l.write(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-3.subvol/file", l.id), "in a folder\n")
			// A device of the host.
			image := filepath.Join(t.TempDir(), "device.raw")
			mkfs(t, image, "")
			out, err := exec.CommandContext(t.Context(), "losetup", "-f", "--show", image).CombinedOutput()
			if err != nil {
				t.Skipf("no loop devices: %v: %s", err, out)
			}
			device := strings.TrimSpace(string(out))
			t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() })
			l.lines = append([]string{}, l.lines...)
			l.lines[4] = "mp4: " + device + ",mp=/device,mountoptions=nosuid"
		},
		proofs: []keyProof{
			{keys: "mp[n] mp[n].volume mp[n].mp", inside: "ls /vol /device; stat -c %u /vol; cat /folder/in/folder/file /pass/host; df -m /vol | tail -n 1 | tr -s ' ' | cut -d' ' -f2",
				want: `/device:\nlost\+found\n\n?/vol:\nlost\+found\n65534\nin a folder\nof the host\n1[0-6]|(?s).*in a folder\nof the host\n1[0-6]`},
			{keys: "mp[n].mountoptions", inside: mounted("/vol"), want: `rw,nosuid,nodev,noexec,noatime \S*lazytime\S*discard\S*|rw,nosuid,nodev,noexec,noatime \S*discard\S*lazytime\S*`},
			{keys: "mp[n].mountoptions", inside: mounted("/bind/data") + "; " + mounted("/device"), want: `ro,nosuid,nodev,noexec,noatime \S+\nrw,nosuid,relatime \S+`},
			{keys: "mp[n].mountoptions", inside: "cp /bin/busybox /vol/prog 2>/dev/null; /vol/prog true; echo $?", want: `(?s).*12[67]`},
			{keys: "mp[n].ro", inside: "cat /bind/data/host; touch /bind/data/x /plain/x", want: `of the host\ntouch: /bind/data/x: Read-only file system\ntouch: /plain/x: Read-only file system`},
			{keys: "mp[n].idmap", inside: "stat -c '%u:%g' /bind/data/five /pass/five /pass/host /ranges/five /ranges/host; touch /pass/new; stat -c %u:%g /pass/new",
				want: `65534:65534\n5:5\n0:0\n1000:2000\n65534:65534\n0:0`},
			{keys: "mp[n].idmap", show: func(t *testing.T, l *keyLab) {
				var st unix.Stat_t
				if err := unix.Stat(l.path("srv/data/new"), &st); err != nil || st.Uid != 0 {
					t.Errorf("on the host it belongs to %d, %v", st.Uid, err)
				}
			}},
			{keys: "mp[n].keepattrs", inside: "stat -c '%a %u:%g' /tmp; " + mounted("/tmp"), want: `1777 0:0\nrw,relatime \S+`},
			{keys: "mp[n].acl", show: func(t *testing.T, l *keyLab) { l.acl(t, "vol", true) }},
			{keys: "mp[n].backup mp[n].replicate mp[n].shared mp[n].size", show: stored(
				"mp0: local:ID/vm-ID-disk-1.raw,mp=/vol,acl=1,backup=1,mountoptions=discard;lazytime;noatime;nodev;noexec;nosuid,replicate=0,shared=1,size=16M",
				"mp1: ROOT/srv/data,mp=/bind/data,mountoptions=noatime;nodev;noexec;nosuid,ro=1,shared=1")},
			{keys: "unused[n] unused[n].volume", show: func(t *testing.T, l *keyLab) {
				stored("unused0: local:ID/vm-ID-disk-9.raw")(t, l)
				l.run("set", "--delete", "unused0")
				if _, err := os.Stat(l.path(fmt.Sprintf("var/lib/vz/images/%[1]d/vm-%[1]d-disk-9.raw", l.id))); err == nil {
					t.Error("the volume is still there")
				}
			}},
		},
	}
}

// imageRoot is a container whose root is an image, with all options of the root.
func imageRoot() keyCT {
	return keyCT{
		name: "root",
		lines: []string{
			"rootfs: volume=local:ID/vm-ID-disk-1.raw,acl=1,idmap=passthrough,mountoptions=discard;lazytime;noatime;nodev;nosuid,replicate=0,shared=1,size=32M",
		},
		prepare: func(t *testing.T, l *keyLab) {
			// Its files belong to root on disk, so only the map of owners makes them the container's.
			top := l.path(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol", l.id))
			if out, err := exec.CommandContext(t.Context(), "chown", "-hR", "0:0", top).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			l.image(1, top)
		},
		proofs: []keyProof{
			{keys: "rootfs rootfs.volume rootfs.idmap", inside: "stat -c '%u:%g' / /bin/busybox; awk '$5 == \"/\" { print $(NF-2) }' /proc/self/mountinfo; touch /new && stat -c %u:%g /new", want: `0:0\n0:0\next4\n0:0`},
			{keys: "rootfs.mountoptions", inside: mounted("/"), want: `rw,nosuid,nodev,noatime,idmapped \S*(lazytime\S*discard|discard\S*lazytime)\S*`},
			{keys: "rootfs.acl", show: func(t *testing.T, l *keyLab) { l.acl(t, "", true) }},
			{keys: "rootfs.size rootfs.replicate rootfs.shared", show: stored(
				"rootfs: volume=local:ID/vm-ID-disk-1.raw,acl=1,idmap=passthrough,mountoptions=discard;lazytime;noatime;nodev;nosuid,replicate=0,shared=1,size=32M")},
		},
	}
}

// frozenRoot is a container that cannot write to its root.
func frozenRoot() keyCT {
	return keyCT{
		name:   "frozen",
		lines:  []string{"rootfs: local:ID/subvol-ID-disk-0.subvol,mountoptions=noatime,ro=1,size=0T"},
		ready:  "true",
		starts: func(t *testing.T, out string) { fits(t, "start", `read-only file system`, out) },
		proofs: []keyProof{
			{keys: "rootfs.ro", inside: "touch /x; " + mounted("/"), want: `touch: /x: Read-only file system\nro,noatime \S+`},
		},
	}
}

// quotaCT is a container off that asks for quotas.
func quotaCT() keyCT {
	return keyCT{
		name: "quota", off: true, shift: -1,
		prepare: func(_ *testing.T, l *keyLab) { l.image(1, "") },
		proofs: []keyProof{
			{keys: "rootfs.quota mp[n].quota", show: func(t *testing.T, l *keyLab) {
				const said = `Quotas are not supported by unprivileged containers\.`
				refused(said, "unprivileged: 1", "rootfs: local:ID/subvol-ID-disk-0.subvol,quota=1,size=0T")(t, l)
				refused(said, "unprivileged: 1", "mp0: local:ID/vm-ID-disk-1.raw,mp=/vol,quota=1,size=16M")(t, l)
			}},
			{keys: "mp[n].quota", show: func(t *testing.T, l *keyLab) {
				l.with(t, []string{"mp0: local:ID/vm-ID-disk-1.raw,mp=/vol,quota=1,size=16M"}, func() {
					out, err := l.try("start", strconv.Itoa(l.id))
					if err != nil {
						// This kernel keeps no quotas.
						fits(t, "start", `with quota=1, which the kernel must have for it`, out)
						return
					}
					fits(t, "mounts", ` /vol ext4 \S*usrjquota=aquota\.user\S*`, l.sh("cat /proc/mounts"))
					l.run("stop")
				})
			}},
			{keys: "rootfs.quota", show: func(t *testing.T, l *keyLab) {
				l.with(t, []string{"rootfs: local:ID/subvol-ID-disk-0.subvol,quota=1,size=0T"}, func() {
					fits(t, "start", `cannot enable quota control for bind mounted subvolumes`, l.run("start"))
					l.run("stop")
				})
			}},
			{keys: "mp[n].volume", show: shows(
				refused("mp0: .*directory '/no/such/folder' does not exist", "mp0: /no/such/folder,mp=/x"),
				refused("mp0: .*no-device", "mp0: /dev/no-device,mp=/x"),
				refused(`volume 'local:999/vm-999-disk-9\.raw' does not exist`, "mp0: local:999/vm-999-disk-9.raw,mp=/x"),
				refused("mp0: idmap: .* is mapped twice", "unprivileged: 1", "mp0: ROOT/etc,mp=/x,idmap=u:0:0:2;u:1:5:1"),
			)},
		},
	}
}

// image makes a volume with a file system that has what is in a folder.
func (l *keyLab) image(n int, from string) {
	l.t.Helper()
	mkfs(l.t, l.path(fmt.Sprintf("var/lib/vz/images/%[1]d/vm-%[1]d-disk-%[2]d.raw", l.id, n)), from)
}

func mkfs(t *testing.T, image, from string) {
	t.Helper()
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip(err)
	}
	args := []string{"-q", "-O", "^has_journal", image, "16M"}
	if from != "" {
		args = []string{"-q", "-O", "^has_journal", "-d", from, image, "32M"}
	}
	if err := os.MkdirAll(filepath.Dir(image), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// acl sets an access control list inside, as init sees it, and tells whether that works.
func (l *keyLab) acl(t *testing.T, name string, want bool) {
	t.Helper()
	at := filepath.Join(fmt.Sprintf("/proc/%d/root", l.initPid()), name)
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 7, 1<<32 - 1}, {2, 4, 100033}, {4, 5, 1<<32 - 1}, {16, 7, 1<<32 - 1}, {32, 5, 1<<32 - 1}} {
		list = binary.LittleEndian.AppendUint16(list, uint16(e[0]))
		list = binary.LittleEndian.AppendUint16(list, uint16(e[1]))
		list = binary.LittleEndian.AppendUint32(list, e[2])
	}
	if err := unix.Setxattr(at, "system.posix_acl_access", list, 0); (err == nil) != want {
		t.Errorf("a list for %s: %v", name, err)
	}
}

// TestKeysCreated makes a container whose owners are on disk as they are inside, and goes on with
// it: what makes, copies and pushes files keeps to that.
func TestKeysCreated(t *testing.T) {
	n := newNode(t)
	if testnode.Inside() {
		testnode.LXC(t)
	}
	id, other := strconv.Itoa(testct.ID(t)), strconv.Itoa(testct.ID(t))
	n.do("create", id, testct.Busybox(t), "--rootfs", "local:0.03,idmap=passthrough", "--mp0", "local:0.02,mp=/vol/deep,idmap=u:0:7:1", "--unprivileged", "1", "--memory", "64", "--swap", "0")
	n.do("start", id)
	n.do("push", id, "/etc/passwd", "/vol/deep/pushed", "--user", "nobody", "--perms", "0600")
	n.do("set", id, "--mp1", "local:0.02,mp=/hot/plugged,idmap=passthrough")
	const look = "stat -c '%n %a %u' /bin/busybox /etc/shadow /etc/hosts /vol /vol/deep /vol/deep/pushed /hot /hot/plugged"
	const want = "/bin/busybox 755 0\n/etc/shadow 640 0\n/etc/hosts 644 0\n/vol 755 0\n/vol/deep 755 0\n/vol/deep/pushed 600 65534\n/hot 755 0\n/hot/plugged 755 0\n"
	if got := n.do("exec", id, "--", "sh", "-c", look); got != want {
		t.Errorf("made:\n%s", got)
	}
	n.do("stop", id)
	n.do("clone", id, other, "--full", "1")
	n.do("destroy", id)
	n.do("start", other)
	if got := n.do("exec", other, "--", "sh", "-c", look); got != want {
		t.Errorf("cloned:\n%s", got)
	}
	n.do("stop", other)
	n.do("destroy", other)
}
