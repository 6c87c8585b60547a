package qm

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newChain is a lab whose storage keeps snapshots as volumes.
func newChain(t *testing.T, config string) *lab {
	t.Helper()
	l := newLab(t, config)
	text := "dir: local\n\tpath " + l.root + "/var/lib/vz\n\tcontent images,iso\n\tsnapshot-as-volume-chain 1\n"
	if err := os.WriteFile(filepath.Join(l.root, "etc/pve/storage.cfg"), []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		logs, _ := filepath.Glob(l.root + "/var/log/virtsmith/qemu/*.log")
		for _, log := range logs {
			if text, _ := os.ReadFile(log); t.Failed() {
				t.Logf("%s:\n%s", log, text)
			}
		}
	})
	return l
}

// thorough skips a test that boots a guest once more where there is no time for it.
func thorough(t *testing.T) {
	t.Helper()
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("boots a guest: only with VIRTSMITH_TEST_ALL=1")
	}
}

// chain returns what the volume of a disk consists of, itself first, as its files say.
func (l *lab) chain(t *testing.T, disk string) []string {
	t.Helper()
	out := command(t, "qemu-img", "info", "-U", "--backing-chain", l.root+"/var/lib/vz/images/100/vm-100-disk-"+disk+".qcow2")
	var files []string
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "image: "); ok {
			files = append(files, strings.TrimSuffix(filepath.Base(strings.TrimSpace(name)), "-vm-100-disk-"+disk+".qcow2"))
		}
	}
	return files
}

// has fails unless both disks have the given states, the newest first, QEMU has none but those
// open, and no other files are there.
func (l *lab) has(t *testing.T, after string, states ...string) {
	t.Helper()
	files := []string{"vm-100-cloudinit.qcow2"}
	for _, disk := range []string{"0", "1"} {
		name := "vm-100-disk-" + disk + ".qcow2"
		want := []string{name}
		files = append(files, name)
		for _, s := range states {
			want = append(want, "snap-"+s)
			files = append(files, "snap-"+s+"-"+name)
		}
		if diff := cmp.Diff(want, l.chain(t, disk)); diff != "" {
			t.Errorf("after %s: disk %s: %s", after, disk, diff)
		}
	}
	for _, s := range states {
		files = append(files, "snap-"+s+"-vm-100-cloudinit.qcow2")
	}
	slices.Sort(files)
	got := slices.DeleteFunc(l.images(t), func(name string) bool { return strings.Contains(name, "-state-") })
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("after %s: files: %s", after, diff)
	}
	// After it has taken in its last state, the volume is a file that QEMU knows as that.
	if pid, _ := l.dir.Running(100); pid == 0 || len(states) == 0 {
		return
	}
	var nodes []struct {
		Name string `json:"node-name"`
		File string `json:"file"`
	}
	l.ask(t, "query-named-block-nodes", &nodes)
	count := 0
	for _, n := range nodes {
		if n.Name[0] == 'd' && len(n.Name) == 31 && strings.Contains(n.File, "/snap-") && !strings.Contains(n.File, "cloudinit") {
			count++
			if _, err := os.Stat(n.File); err != nil {
				t.Errorf("after %s: QEMU knows a file by a name that is gone: %v", after, err)
			}
		}
	}
	if count > 2*len(states) {
		t.Errorf("after %s: QEMU has %d states open", after, count)
	}
}

// mark writes and reads on both disks in the guest, unbuffered.
func (l *lab) mark(t *testing.T, text string) {
	t.Helper()
	l.sh(t, "echo "+text+" >/data/"+text+"; echo "+text+" >/data/last; sync; echo "+text+" | dd of=/dev/sda bs=512 conv=sync,notrunc 2>/dev/null; sync")
}

func (l *lab) marks(t *testing.T, after string, want ...string) {
	t.Helper()
	got := strings.Fields(l.sh(t, "echo 3 >/proc/sys/vm/drop_caches; cd /data; for f in one two three four five six seven; do [ -f $f ] && cat $f; done; cat last; dd if=/dev/sda bs=512 count=1 2>/dev/null | tr -d '\\0'"))
	last := want[len(want)-1]
	if diff := cmp.Diff(append(want, last, last), got); diff != "" {
		t.Errorf("after %s: %s", after, diff)
	}
}

// TestChain: a guest that runs is snapshot, its snapshots are removed and gone back to, and it has
// the right data at each moment.
func TestChain(t *testing.T) {
	l := newChain(t, strings.Replace(labConfig, "virtio0: local:100/vm-100-disk-0.qcow2,size=1G", "virtio0: local:100/vm-100-disk-0.qcow2,iothread=1,size=1G", 1))
	l.boot(t)
	for _, name := range []string{"one", "two", "three"} {
		l.mark(t, name)
		l.do(t, "snapshot", "100", "s"+name)
	}
	l.mark(t, "four")
	l.has(t, "three snapshots", "sthree", "stwo", "sone")
	l.marks(t, "three snapshots", "one", "two", "three", "four")

	l.do(t, "delsnapshot", "100", "stwo")
	l.has(t, "removal of the middle one", "sthree", "sone")
	l.marks(t, "removal of the middle one", "one", "two", "three", "four")
	l.fails(t, "is not most recent snapshot", "rollback", "100", "sone")

	l.do(t, "rollback", "100", "sthree", "--start")
	l.boot2(t)
	l.has(t, "a rollback", "sthree", "sone")
	l.marks(t, "a rollback", "one", "two", "three")
	l.mark(t, "five")

	// The oldest one takes in the one above it, which is a state; QEMU has opened them by itself.
	l.do(t, "delsnapshot", "100", "sone")
	l.has(t, "removal of the oldest", "sthree")
	l.marks(t, "removal of the oldest", "one", "two", "three", "five")
	l.do(t, "snapshot", "100", "sone")
	l.has(t, "one of the same name", "sone", "sthree")
	l.mark(t, "six")
	l.do(t, "delsnapshot", "100", "sthree")
	l.has(t, "removal of what was renamed", "sone")
	l.marks(t, "removal of what was renamed", "one", "two", "three", "five", "six")

	// The last one takes in the volume that the guest writes to.
	l.do(t, "delsnapshot", "100", "sone")
	l.has(t, "removal of the last")
	l.leavesNothing(t)
	l.do(t, "snapshot", "100", "sone")
	l.mark(t, "seven")
	l.do(t, "snapshot", "100", "stwo")
	l.has(t, "two again", "stwo", "sone")
	l.do(t, "delsnapshot", "100", "sone")
	l.do(t, "delsnapshot", "100", "stwo")
	l.leavesNothing(t)
	l.marks(t, "all", "one", "two", "three", "five", "six", "seven")
	l.do(t, "stop", "100")
	l.boot(t)
	l.marks(t, "a new start", "one", "two", "three", "five", "six", "seven")
}

// TestChainWithMemory: memory and disks are of one moment, and go back together.
func TestChainWithMemory(t *testing.T) {
	thorough(t)
	l := newChain(t, labConfig)
	l.boot(t)
	l.mark(t, "one")
	l.sh(t, "echo old >/run/file")
	l.do(t, "snapshot", "100", "s1", "--vmstate", "1")
	l.has(t, "a snapshot", "s1")
	l.mark(t, "two")
	l.sh(t, "echo new >/run/file")
	l.do(t, "rollback", "100", "s1")
	if got := l.sh(t, "cat /run/file"); got != "old" {
		t.Errorf("the memory has %q", got)
	}
	l.marks(t, "a rollback", "one")
	l.do(t, "delsnapshot", "100", "s1")
	l.leavesNothing(t)
	l.mark(t, "two")
	l.marks(t, "all", "one", "two")
}

// TestChainKilled: a command that is killed leaves a guest that has all its data, and what the next
// command puts right.
func TestChainKilled(t *testing.T) {
	thorough(t)
	l := newChain(t, labConfig)
	l.boot(t)
	l.mark(t, "one")
	for _, text := range []string{"snapshotting 'drive-virtio0'", "creating a new current volume", "snapshotting 'drive-scsi1'"} {
		t.Run(text, func(t *testing.T) {
			cmd, _ := l.interruptedAt(t, text, func(*exec.Cmd) { l.killWorker(t) }, "snapshot", "100", "s1")
			if !cmd.ProcessState.Success() {
				l.do(t, "unlock", "100")
			}
			l.do(t, "delsnapshot", "100", "s1", "--force")
			l.has(t, "a kill")
			l.leavesNothing(t)
			l.marks(t, "a kill", "one")
		})
	}
	// What the kill can leave in between, made by hand: QEMU writes to a file that is a state
	// by name.
	t.Run("between the names and QEMU", func(t *testing.T) {
		images := l.root + "/var/lib/vz/images/100/"
		l.ask(t, "stop", nil)
		if err := os.WriteFile(string(l.dir)+"/100.hold", []byte(`{"runs":true}`), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, disk := range []string{"vm-100-disk-0.qcow2", "vm-100-disk-1.qcow2"} {
			if err := os.Rename(images+disk, images+"snap-s1-"+disk); err != nil {
				t.Fatal(err)
			}
			command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "snap-s1-"+disk, "-F", "qcow2", images+disk, "1G")
		}
		l.do(t, "resume", "100")
		l.has(t, "healing")
		l.mark(t, "two")
		l.marks(t, "healing", "one", "two")
	})
	t.Run("removals", func(t *testing.T) {
		for _, text := range []string{"commit current to first snapshot s1", "transferred"} {
			l.do(t, "snapshot", "100", "s1")
			l.mark(t, "three")
			_, out := l.interruptedAt(t, text, func(*exec.Cmd) { l.killWorker(t) }, "delsnapshot", "100", "s1")
			if strings.Contains(l.config(t), "lock:") {
				l.do(t, "unlock", "100")
			}
			if strings.Contains(l.config(t), "[s1]") {
				l.do(t, "delsnapshot", "100", "s1")
			} else {
				t.Logf("was faster: %s", out)
			}
			l.has(t, "a removal that was killed")
			l.leavesNothing(t)
			l.marks(t, "a removal that was killed", "one", "two", "three")
		}
	})
	l.do(t, "stop", "100")
	l.boot(t)
	l.marks(t, "a new start", "one", "two", "three")
}

// TestChainFull: what does not fit is told, and the guest goes on.
func TestChainFull(t *testing.T) {
	thorough(t)
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	l := newChain(t, labConfig)
	small := filepath.Join(l.root, "small")
	if err := os.MkdirAll(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	images := small + "/images/100/"
	if err := os.MkdirAll(images, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", images+"vm-100-disk-1.qcow2", "64M")
	conf := filepath.Join(l.root, "etc/pve/nodes/pve1/qemu-server/100.conf")
	if err := os.WriteFile(conf, []byte(strings.Replace(labConfig, "scsi1: local:", "scsi1: small:", 1)), 0o640); err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(l.root, "etc/pve/storage.cfg")
	text, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "\ndir: small\n\tpath "+small+"\n\tcontent images\n\tsnapshot-as-volume-chain 1\n"...)
	if err := os.WriteFile(cfg, text, 0o640); err != nil {
		t.Fatal(err)
	}
	l.boot(t)
	l.sh(t, "dd if=/dev/zero bs=64k count=40 2>/dev/null | tr '\\0' x | dd of=/dev/sda bs=64k 2>/dev/null; sync")
	var st syscall.Statfs_t
	if err := syscall.Statfs(small, &st); err != nil {
		t.Fatal(err)
	}
	fill := make([]byte, int64(st.Bavail)*st.Bsize)
	if err := os.WriteFile(small+"/filler", fill, 0o600); err != nil {
		t.Fatal(err)
	}
	l.fails(t, "o space left on device", "snapshot", "100", "s1")
	if found, _ := filepath.Glob(images + "*"); len(found) != 1 {
		t.Errorf("left %v", found)
	}
	if s := l.runState(t); s != "running" {
		t.Errorf("the VM is %s", s)
	}
	if got := l.chain(t, "0"); len(got) != 1 {
		t.Errorf("the other disk has %v", got)
	}
	if err := os.Remove(small + "/filler"); err != nil {
		t.Fatal(err)
	}
	l.do(t, "snapshot", "100", "s1")
	l.do(t, "delsnapshot", "100", "s1")
	if got := l.sh(t, "dd if=/dev/sda bs=64k count=40 2>/dev/null | tr -d x | wc -c"); got != "0" {
		t.Errorf("%s bytes are lost", got)
	}
}
