// Package nodeboot takes the programs qm and pvesm through their work on the storages
// of a test node: those that need its kernel, its disks and servers. VMs in it are
// emulated on an emulated machine: a real system takes many minutes to boot there, the
// small guest of [Sector] seconds.
package nodeboot

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/app"
	"github.com/virtsmith/virtsmith/pkg/cli/pvesm"
	"github.com/virtsmith/virtsmith/pkg/cli/qm"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
)

// Main runs the tests, or is one of the programs when the test binary is called as such.
func Main(m *testing.M) int {
	words := []string{app.WorkerWord, app.SupervisorWord, app.ProbeWord}
	switch {
	case filepath.Base(os.Args[0]) == "pvesm":
		return pvesm.Main()
	case filepath.Base(os.Args[0]) == "qm", len(os.Args) > 1 && slices.Contains(words, os.Args[1]):
		return qm.Main()
	}
	return m.Run()
}

// A World is the root of a node of its own, with the programs. What it has mounted goes
// with it.
type World struct {
	testing.TB
	Root string
}

// New makes a world.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t, testroot.New(t)}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"qm", "pvesm"} {
		if err := os.Symlink(exe, filepath.Join(w.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, dir := range w.Mounts() {
			if out, err := exec.Command("umount", "-f", "-l", dir).CombinedOutput(); err != nil {
				t.Errorf("umount %s: %v: %s", dir, err, out)
			}
		}
	})
	return w
}

// Mounts returns what is mounted below the root.
func (w *World) Mounts() (dirs []string) {
	w.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		w.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if dir := strings.Fields(line)[1]; strings.HasPrefix(dir, w.Root+"/") {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Command is a call of a program in the world.
func (w *World) Command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(w.Root, program), args...)
	cmd.Env = append(os.Environ(), "VIRTSMITH_ROOT="+w.Root, "VIRTSMITH_NODE=pve1")
	return cmd
}

// Try runs a program and returns what it printed on both streams.
func (w *World) Try(program string, args ...string) (string, error) {
	w.Helper()
	began := time.Now()
	out, err := w.Command(program, args...).CombinedOutput()
	w.Logf("%s %s: %v, %s", program, strings.Join(args, " "), err, time.Since(began).Round(10*time.Millisecond))
	return string(out), err
}

// QM runs qm, which has to succeed.
func (w *World) QM(args ...string) string { w.Helper(); return w.must("qm", args...) }

// PVESM runs pvesm, which has to succeed.
func (w *World) PVESM(args ...string) string { w.Helper(); return w.must("pvesm", args...) }

func (w *World) must(program string, args ...string) string {
	w.Helper()
	out, err := w.Try(program, args...)
	if err != nil {
		w.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// Read returns the text of a file below the root, empty where there is none.
func (w *World) Read(name string) string {
	text, _ := os.ReadFile(filepath.Join(w.Root, name))
	return string(text)
}

// Option returns the value of an option of a VM.
func (w *World) Option(vmid, key string) string {
	w.Helper()
	for line := range strings.Lines(w.QM("config", vmid)) {
		if value, ok := strings.CutPrefix(line, key+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Guest returns the image of the test guest's disk. It cannot be built in a node.
func Guest(t testing.TB) string {
	t.Helper()
	path := filepath.Join(conformance.Root(t), "build", "testguest", "guest.raw")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no test guest: %v", err)
	}
	return path
}

// Create makes VM 100 whose disk scsi0 is what the words say, which can boot in a node.
func (w *World) Create(scsi0 string) {
	w.Helper()
	w.QM("create", "100", "--kvm", "0", "--cpu", "qemu64", "--memory", "192", "--ostype", "l26", "--scsihw", "virtio-scsi-pci", "--boot", "order=scsi0",
		"--balloon", "0", "--tablet", "0", "--serial0", "socket", "--vga", "serial0", "--scsi0", scsi0)
	w.Cleanup(func() {
		_, _ = w.Try("qm", "stop", "100")
	})
}

// A Console is the serial port of a VM, with its guest's shell.
type Console struct {
	w    *World
	cmd  *exec.Cmd
	keys io.WriteCloser
	done chan struct{}
	mu   sync.Mutex
	said bytes.Buffer
}

// Console opens the serial port of a running VM.
func (w *World) Console(vmid string) *Console {
	w.Helper()
	c := &Console{w: w, cmd: w.Command("qm", "terminal", vmid), done: make(chan struct{})}
	var err error
	if c.keys, err = c.cmd.StdinPipe(); err != nil {
		w.Fatal(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = c, c
	if err := c.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait() // it may be killed
	}()
	w.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.done
	})
	return c
}

// Write takes what the guest prints.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.Write(p)
}

// Await waits until the guest has printed what matches, and returns its parts. All up to
// there is not looked at again.
func (c *Console) Await(pattern string, patience time.Duration) []string {
	c.w.Helper()
	re := regexp.MustCompile(pattern)
	began := time.Now()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		c.mu.Lock()
		text := c.said.Bytes()
		if at := re.FindSubmatchIndex(text); at != nil {
			parts := re.FindStringSubmatch(string(text))
			c.said.Next(at[1])
			c.mu.Unlock()
			tick.Stop()
			c.w.Logf("%q on the serial port after %s", parts[0], time.Since(began).Round(time.Second))
			return parts
		}
		c.mu.Unlock()
		select {
		case <-c.done:
			c.w.Fatalf("the console has ended: %s", c.text())
		case <-tick.C:
		}
		if time.Since(began) > patience {
			c.w.Fatalf("nothing like %s on the serial port in %s:\n%s", pattern, patience, c.text())
		}
	}
}

func (c *Console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.String()
}

// Sh has the guest's shell run a line, and returns what it prints.
func (c *Console) Sh(line string) string {
	c.w.Helper()
	// The terminal shows the words too: those have a dollar in them.
	if _, err := io.WriteString(c.keys, `echo "<<$(`+line+`)>>"`+"\r"); err != nil {
		c.w.Fatal(err)
	}
	return strings.TrimSpace(c.Await(`<<([^$]*?)>>`, 5*time.Minute)[1])
}

// Type types a key into the small guest, and waits until it is its mark.
func (c *Console) Type(key string) {
	c.w.Helper()
	if _, err := io.WriteString(c.keys, key); err != nil {
		c.w.Fatal(err)
	}
	c.Await(Ready+key+"\r\n", 5*time.Minute)
}

// Leave closes the console as a user does.
func (c *Console) Leave() {
	c.w.Helper()
	if _, err := io.WriteString(c.keys, "\x0f"); err != nil { // Ctrl+O
		c.w.Fatal(err)
	}
	select {
	case <-c.done:
	case <-time.After(time.Minute):
		c.w.Fatal("the console does not end")
	}
}
