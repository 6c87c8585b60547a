package qm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// left lists the files that a node has besides logs, locks and folders.
func (s *sandbox) left() (names []string) {
	s.Helper()
	err := filepath.WalkDir(s.root, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(s.root, path)
		if err != nil || d.IsDir() || strings.HasPrefix(name, "var/log/") || strings.HasPrefix(name, "run/") || strings.HasPrefix(name, "var/cache/") {
			return err
		}
		if d.Type().IsRegular() {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return names
}

func (s *sandbox) write(name, text string) {
	s.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
}

// mount mounts a small file system below the root, as a full one or a read-only one is
// hard to come by otherwise.
func (s *sandbox) mount(name, options string) {
	s.Helper()
	if os.Getuid() != 0 {
		s.Skip("mounting needs root")
	}
	if err := os.MkdirAll(s.path(name), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := syscall.Mount("none", s.path(name), "tmpfs", 0, options); err != nil {
		s.Skipf("mount: %v", err)
	}
	s.Cleanup(func() { _ = syscall.Unmount(s.path(name), syscall.MNT_DETACH) })
}

// source makes an image to import that does not compress to nothing.
func (s *sandbox) source(mebibytes int) string {
	s.Helper()
	path := s.path("source.raw")
	if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcdef"), mebibytes<<16), 0o644); err != nil {
		s.Fatal(err)
	}
	return path
}

func TestCreateFaults(t *testing.T) {
	s := newSandbox(t)
	out, err := s.run("create", "100", "--cores", "0", "--memory", "x", "--net0", "virtio,tag=9999", "--scsi0", "local:1,format=odd")
	if err == nil {
		t.Error("faults are taken")
	}
	for _, fault := range []string{"cores: ", "memory.current: ", "net0.tag: ", "scsi0.format: "} {
		if !strings.Contains(out, fault) {
			t.Errorf("%s is not told in\n%s", fault, out)
		}
	}
	// Second looks: what the schema cannot see, of several options at once.
	out, err = s.run("create", "100", "--scsi0", "/no/such.raw", "--virtio0", "local:1,import-from=/x.raw", "--cpu", "custom-none")
	if err == nil {
		t.Error("faults are taken")
	}
	for _, fault := range []string{"scsi0: unable to associate", "virtio0: 'import-from' requires", "cpu: invalid format"} {
		if !strings.Contains(out, fault) {
			t.Errorf("%s is not told in\n%s", fault, out)
		}
	}
	s.refused("SSH public key validation error", "create", "100", "--sshkeys", s.keyFile("not a key"))
	if left := s.left(); !slices.Equal(left, []string{"key"}) {
		t.Errorf("left: %v", left)
	}
	s.must("create", "100", "--sshkeys", s.keyFile("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f bob@laptop\n"))
	s.refused("VM 100 already exists on node 'pve1'", "create", "100")
}

func (s *sandbox) keyFile(text string) string {
	s.write("key", text)
	return s.path("key")
}

func TestCreateDiskFull(t *testing.T) {
	s := newSandbox(t)
	s.mount("var/lib/vz", "size=8m")
	s.refused("No space left on device", "create", "100", "--scsi0", "local:0.001", "--scsi1", "local:0,import-from="+s.source(16))
	if left := s.left(); !slices.Equal(left, []string{"source.raw"}) {
		t.Errorf("left: %v", left)
	}
	// The VM that is there already stays as it was.
	s.must("create", "100", "--scsi0", "local:0.001")
	before := s.config(100)
	s.refused("No space left on device", "set", "100", "--cores", "2", "--scsi1", "local:0,import-from="+s.source(16))
	if after := s.config(100); after != before || len(s.images(100)) != 1 {
		t.Errorf("changed to\n%s%v", after, s.images(100))
	}
}

func TestCreateInterrupted(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
	}{{"interrupt", syscall.SIGINT}, {"terminate", syscall.SIGTERM}} {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t)
			cmd := s.command("create", "100", "--bwlimit", "512", "--scsi0", "local:0,import-from="+s.source(16))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return len(s.images(100)) > 0 })
			if !strings.Contains(s.config(100), "lock: create") {
				t.Errorf("nothing says that the VM is being made:\n%s", s.config(100))
			}
			s.refused("VM is locked (create)", "set", "100", "--cores", "2")
			begin := time.Now()
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("exit code 0")
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("took %v to end", took)
			}
			if left := s.left(); !slices.Equal(left, []string{"source.raw"}) {
				t.Errorf("left: %v\n%s", left, &out)
			}
		})
	}
}

// TestCreateKilled kills the worker without warning: what is left says what it is, and
// two commands remove it.
func TestCreateKilled(t *testing.T) {
	s := newSandbox(t)
	cmd := s.command("create", "100", "--bwlimit", "512", "--scsi0", "local:0,import-from="+s.source(16))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(s.images(100)) > 0 })
	for _, pid := range descendants(cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("exit code 0")
	}
	if !strings.Contains(s.config(100), "lock: create") {
		t.Errorf("got\n%s", s.config(100))
	}
	s.refused("VM is locked (create)", "start", "100")
	s.must("unlock", "100")
	s.must("destroy", "100", "--destroy-unreferenced-disks", "1")
	if left := s.left(); slices.ContainsFunc(left, func(name string) bool { return strings.Contains(name, "100") }) {
		t.Errorf("left: %v", left)
	}
}

// descendants lists the processes below one, those that it started first.
func descendants(pid int) (all []int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range threads {
		text, _ := os.ReadFile(name)
		for word := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(word)
			if err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

func TestCreateManyAtOnce(t *testing.T) {
	s := newSandbox(t)
	s.write("etc/pve/user.cfg", "pool:lab::::\n")
	const many = 100
	var group sync.WaitGroup
	outs := make([]string, many)
	for i := range many {
		group.Go(func() {
			out, err := s.run("create", fmt.Sprint(100+i), "--scsi0", "local:0.001", "--net0", "virtio", "--pool", "lab")
			if err != nil {
				outs[i] = fmt.Sprintf("%d: %v: %s", 100+i, err, out)
			}
		})
	}
	group.Wait()
	for _, out := range outs {
		if out != "" {
			t.Error(out)
		}
	}
	users, err := os.ReadFile(s.path("etc/pve/user.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(users), ","); n != many-1 {
		t.Errorf("the pool has %d members: %s", n+1, users)
	}
}

func TestCreateSameAtOnce(t *testing.T) {
	s := newSandbox(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		group.Go(func() {
			if _, err := s.run("create", "100", "--scsi0", "local:0.001"); err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if images := s.images(100); made != 1 || !slices.Equal(images, []string{"vm-100-disk-0.raw"}) {
		t.Errorf("made %d times, with %v", made, images)
	}
}

func TestSetAtOnce(t *testing.T) {
	s := newSandbox(t)
	s.must("create", "100")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if out, err := s.run("set", "100", fmt.Sprintf("--net%d", i), "virtio"); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	group.Wait()
	if n := strings.Count(s.config(100), ": virtio="); n != 20 {
		t.Errorf("%d network cards:\n%s", n, s.config(100))
	}
}

func TestSetFaults(t *testing.T) {
	s := newSandbox(t)
	s.must("create", "100", "--scsi0", "local:0.001", "--memory", "512")
	before := s.config(100)
	for _, c := range []struct {
		why  string
		args []string
	}{
		{"checksum mismatch", []string{"--digest", strings.Repeat("0", 40), "--cores", "2"}},
		{"balloon value too large", []string{"--balloon", "1024"}},
		{"invalid bootorder: device 'scsi3' does not exist'", []string{"--boot", "order=scsi3"}},
		{"mbps", []string{"--scsi0", "local:100/vm-100-disk-0.raw,mbps_max=3"}},
		{"force", []string{"--force", "1"}},
	} {
		s.refused(c.why, append([]string{"set", "100"}, c.args...)...)
		if after := s.config(100); after != before {
			t.Fatalf("%v changed it to\n%s", c.args, after)
		}
	}
	if out := s.must("set", "100", "--scsi1", "local:1", "--cores", "2", "--dry-run"); !strings.Contains(out, "+cores: 2") || s.config(100) != before || len(s.images(100)) != 1 {
		t.Errorf("dry run: %s", out)
	}
	// By force the volume goes too, which a snapshot that has it forbids.
	s.write("etc/pve/nodes/pve1/qemu-server/100.conf", before+"\n[snap]\nscsi0: local:100/vm-100-disk-0.raw,size=1M\n")
	s.refused("volume is still in use (snapshot?)", "set", "100", "--delete", "scsi0", "--force", "1")
	if len(s.images(100)) != 1 {
		t.Error("the volume is gone")
	}
	s.must("set", "100", "--revert", "scsi0")
	s.write("etc/pve/nodes/pve1/qemu-server/100.conf", before)
	s.must("set", "100", "--delete", "scsi0", "--force", "1")
	if len(s.images(100)) != 0 {
		t.Errorf("left: %v", s.images(100))
	}
}

func TestSetReadOnly(t *testing.T) {
	s := newSandbox(t)
	s.mount("etc/pve", "size=4m")
	s.must("create", "100")
	if err := syscall.Mount("none", s.path("etc/pve"), "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("remount: %v", err)
	}
	before := s.config(100)
	s.refused("read-only", "set", "100", "--cores", "2")
	s.refused("read-only", "set", "100", "--scsi0", "local:0.001")
	s.refused("read-only", "create", "101", "--scsi0", "local:0.001")
	if s.config(100) != before || len(s.images(100)) != 0 || len(s.images(101)) != 0 {
		t.Errorf("left: %v", s.left())
	}
}
