package testnode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says what a node is booted from and what it sees.
type Config struct {
	Image   string // a system built by contrib/testnode/build
	Guest   string // the folder with vmlinuz and initrd.img
	Scratch string // an own folder for disks and the console's log
	Systemd bool   // systemd is process 1

	// Shares are folders the node sees read-only: below /project, /tests and
	// /conformance.
	Shares map[string]string
}

// Node is a running virtual machine. It ends with Close, and with the process
// that booted it, however that ends.
type Node struct {
	stop    context.CancelFunc
	in      io.WriteCloser
	lines   <-chan string
	done    <-chan struct{}
	console string
	words   int
	Up      time.Duration // from start to the first command
}

// bootTime is how long a node may take on a busy machine.
const bootTime = 3 * time.Minute

// Boot starts a node and waits until it takes commands.
func Boot(ctx context.Context, c Config) (*Node, error) {
	args, err := c.arguments()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	vm, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(vm, "qemu-system-x86_64", args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+c.Scratch)
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		stop()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		stop()
		return nil, err
	}
	log, err := os.Create(filepath.Join(c.Scratch, "qemu.log"))
	if err != nil {
		stop()
		return nil, err
	}
	cmd.Stderr = log
	lines, done := make(chan string, 1000), make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() { split(out, lines) })
	started := make(chan error, 1)
	go func() {
		// The kernel kills the machine when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			reading.Wait()
			_ = cmd.Wait() // it always ends by a signal or the guest's reset
		}
	}()
	n := &Node{stop: stop, in: in, lines: lines, done: done, console: filepath.Join(c.Scratch, "console.log")}
	if err := <-started; err != nil {
		stop()
		return nil, err
	}
	if err := n.ready(bootTime); err != nil {
		n.Close()
		raw, _ := os.ReadFile(log.Name()) // only to say more
		return nil, fmt.Errorf("boot node: %w %s%s", err, raw, n.tail())
	}
	// The machine keeps its disks open: so they go with it, however it ends.
	for i := range Disks {
		if err := os.Remove(c.disk(i)); err != nil {
			n.Close()
			return nil, err
		}
	}
	n.Up = time.Since(began)
	return n, nil
}

// disk is the file of a spare disk.
func (c Config) disk(i int) string { return filepath.Join(c.Scratch, "disk"+strconv.Itoa(i)) }

// init is process 1, and what it is told.
func (c Config) init() string {
	if c.Systemd {
		return "/lib/systemd/systemd systemd.unit=testnode.service"
	}
	return "/node-init"
}

// arguments makes the spare disks and returns the command line of the machine.
func (c Config) arguments() ([]string, error) {
	// Ceph's daemons take SSE 4; page tables of five levels only cost time.
	args := strings.Fields("-accel tcg,thread=multi -machine q35,sata=off,smbus=off,vmport=off -cpu max,la57=off -m 3072 -smp 2 -nodefaults -no-reboot" +
		" -display none -vga none -device virtio-rng-pci -device virtio-serial" +
		" -chardev stdio,id=control,signal=off -device virtserialport,chardev=control,name=control")
	// What lies where it lay before need not be translated again: that makes programs start
	// three times as fast.
	args = append(args,
		"-serial", "file:"+filepath.Join(c.Scratch, "console.log"),
		"-kernel", filepath.Join(c.Guest, "vmlinuz"), "-initrd", filepath.Join(c.Guest, "initrd.img"),
		"-append", "console=ttyS0 quiet mitigations=off random.trust_cpu=on norandmaps panic=-1 net.ifnames=0 groot=/dev/vda ginit="+c.init(),
		"-drive", "file="+c.Image+",format=raw,if=none,id=root,snapshot=on,cache=unsafe", "-device", "virtio-blk-pci,drive=root")
	for i := range Disks {
		path := c.disk(i)
		f, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(f.Truncate(DiskSize), f.Close()); err != nil {
			return nil, err
		}
		args = append(args,
			"-drive", fmt.Sprintf("file=%s,format=raw,if=none,id=disk%d,cache=unsafe,discard=unmap", path, i),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d,serial=disk%d", i, i))
	}
	for tag, dir := range c.Shares {
		args = append(args, "-virtfs", "local,path="+dir+",mount_tag="+tag+",security_model=none,readonly=on,multidevs=remap")
	}
	return args, nil
}

// split hands on what it reads, line by line.
func split(from io.Reader, lines chan<- string) {
	defer close(lines)
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			lines <- strings.TrimRight(line, "\r\n")
		}
		if err != nil {
			return
		}
	}
}

var errDied = errors.New("the node died")

// ready waits for the first line of the node.
func (n *Node) ready(limit time.Duration) error {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		select {
		case line, more := <-n.lines:
			if !more {
				return errDied
			}
			if strings.HasPrefix(line, "testnode-ready") {
				return nil
			}
		case <-late.C:
			return fmt.Errorf("not up after %v", limit)
		}
	}
}

// Run has the node's shell run one line, hands on each line of its output, and
// returns its exit status. After the limit it fails, and the node is of no use
// any more.
func (n *Node) Run(line string, limit time.Duration, output func(string)) (int, error) {
	n.words++
	word := "word" + strconv.Itoa(n.words)
	if _, err := fmt.Fprintln(n.in, word, line); err != nil {
		return 0, fmt.Errorf("%w: %w", errDied, err)
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		select {
		case got, more := <-n.lines:
			if !more {
				return 0, fmt.Errorf("%w: %s", errDied, n.tail())
			}
			// What a program prints last may lack its line's end.
			if before, status, is := strings.Cut(got, "testnode-end "+word+" "); is {
				if before != "" {
					output(before)
				}
				return strconv.Atoi(status)
			}
			output(got)
		case <-late.C:
			return 0, fmt.Errorf("no end after %v", limit)
		}
	}
}

// Close ends the machine and waits until it is gone.
func (n *Node) Close() {
	n.stop()
	for range n.lines { // lets the reader end
	}
	<-n.done
}

// tail is the end of what the node's kernel said.
func (n *Node) tail() string {
	raw, err := os.ReadFile(n.console)
	if err != nil {
		return err.Error()
	}
	return "\n" + string(raw[max(0, len(raw)-2000):])
}
