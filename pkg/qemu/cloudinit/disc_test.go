package cloudinit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not on this machine", p)
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run.Output(t.Context(), run.Host{}, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// disc writes content to a new volume.
func disc(t *testing.T, c *Content, format string) Volume {
	t.Helper()
	v := Volume{filepath.Join(t.TempDir(), "vm-100-cloudinit."+format), format, VolumeSize}
	output(t, "qemu-img", "create", "-q", "-f", format, v.Path, "4M")
	write(t, c, v)
	return v
}

func write(t *testing.T, c *Content, v Volume) {
	t.Helper()
	scratch := t.TempDir()
	if err := c.Write(t.Context(), run.Host{}, scratch, v); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWrite(t *testing.T) {
	need(t, "genisoimage", "qemu-img", "isoinfo")
	for _, format := range []string{"raw", "qcow2"} {
		for name, p := range map[string]schema.Params{
			"nocloud": full(), "configdrive2": with(full(), "citype", "configdrive2"), "opennebula": with(full(), "citype", "opennebula"),
		} {
			t.Run(name+" "+format, func(t *testing.T) {
				c, err := guest(t, 100, p).Content(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				v := disc(t, c, format)
				iso := v.Path
				if format != "raw" {
					iso += ".iso"
					output(t, "qemu-img", "convert", "-f", format, "-O", "raw", v.Path, iso)
				}
				if info := output(t, "isoinfo", "-d", "-i", iso); !strings.Contains(info, "Volume id: "+c.Label+"\n") ||
					!strings.Contains(info, "Joliet") || !strings.Contains(info, "Rock Ridge") {
					t.Errorf("isoinfo: %s", info)
				}
				for _, names := range []string{"-R", "-J"} {
					got := map[string]string{}
					for path := range c.Files {
						got[path] = output(t, "isoinfo", names, "-i", iso, "-x", "/"+path)
					}
					if diff := cmp.Diff(c.Files, got); diff != "" {
						t.Errorf("%s: %s", names, diff)
					}
				}
			})
		}
	}
}

// TestWriteAgain sees that nothing of an earlier CD stays in the volume.
func TestWriteAgain(t *testing.T) {
	need(t, "genisoimage", "qemu-img")
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			secret := strings.Repeat("a secret of old ", 1<<16)
			v := disc(t, &Content{"cidata", map[string]string{"user-data": "short", "vendor-data": secret}}, format)
			write(t, &Content{"cidata", map[string]string{"user-data": "short"}}, v)
			raw := filepath.Join(t.TempDir(), "raw")
			output(t, "qemu-img", "convert", "-f", format, "-O", "raw", v.Path, raw)
			text, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) != VolumeSize {
				t.Errorf("the volume has %d bytes", len(text))
			}
			if bytes.Contains(text, []byte("a secret of old")) {
				t.Error("the volume still holds old data")
			}
		})
	}
}

func TestWriteFaults(t *testing.T) {
	need(t, "genisoimage", "qemu-img")
	c := &Content{"cidata", map[string]string{"user-data": strings.Repeat("x", 1<<20)}}
	for name, f := range map[string]struct {
		runner run.Runner
		to     Volume
		want   string
	}{
		"small volume": {run.Host{}, Volume{"/nowhere", "raw", 1 << 20}, "bytes, its volume only 1048576: give it a larger one"},
		"no volume":    {run.Host{}, Volume{"/nowhere/x", "raw", VolumeSize}, "write cloud-init ISO to /nowhere/x: qemu-img: exit status 1"},
		"no program":   {absent{}, Volume{"/nowhere/x", "raw", VolumeSize}, "cloud-init ISO: genisoimage: program not found, is its package installed?"},
	} {
		t.Run(name, func(t *testing.T) {
			scratch := t.TempDir()
			err := c.Write(t.Context(), f.runner, scratch, f.to)
			if err == nil || !strings.Contains(err.Error(), f.want) {
				t.Errorf("got %v", err)
			}
			if left, _ := os.ReadDir(scratch); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// absent is a machine without programs.
type absent struct{}

func (absent) Run(_ context.Context, c run.Cmd) error {
	return &run.Error{Cmd: c, ExitCode: -1, Err: exec.ErrNotFound}
}

func TestWriteDry(t *testing.T) {
	var told strings.Builder
	ctx := plan.With(t.Context(), plan.New(&told))
	scratch := filepath.Join(t.TempDir(), "scratch")
	c := &Content{"cidata", map[string]string{"user-data": "x"}}
	if err := c.Write(ctx, absent{}, scratch, Volume{"/x/disk.raw", "raw", VolumeSize}); err != nil {
		t.Fatal(err)
	}
	if told.String() != "write cloud-init data (cidata) to /x/disk.raw\n" {
		t.Errorf("told %q", told.String())
	}
	if _, err := os.Stat(scratch); err == nil {
		t.Error("a dry run made a folder")
	}
}

// TestGuestApplies boots the test guest with each kind of CD and reads what it says it did.
func TestGuestApplies(t *testing.T) {
	need(t, "genisoimage", "qemu-img", "qemu-system-x86_64")
	if testing.Short() {
		t.Skip("boots three guests")
	}
	dir := testguest.Dir(t)
	for layout, dev := range map[string][]string{
		NoCloud: {"eth0 addr 10.9.8.7", "eth0 mask 255.255.255.128", "eth0 gw 10.9.8.1"}, ConfigDrive: {"eth0 addr 10.9.8.7"}, OpenNebula: {"eth0 addr 10.9.8.7", "eth0 gw 10.9.8.1"},
	} {
		t.Run(layout, func(t *testing.T) {
			c, err := guest(t, 100, schema.Params{
				"name": "proof-" + layout, "citype": layout, "nameserver": "10.9.8.1", "searchdomain": "example.net",
				"net0": "virtio=BC:24:11:00:00:01", "ipconfig0": "ip=10.9.8.7/25,gw=10.9.8.1",
			}).Content(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			said := boot(t, dir, disc(t, c, "qcow2"))
			for _, want := range dev {
				if !strings.Contains(said, "GUEST-CIDATA "+want) {
					t.Errorf("the guest did not say %q:\n%s", want, said)
				}
			}
			if ready := said[strings.Index(said, testguest.Ready):]; !strings.Contains(ready, "proof-"+layout) {
				t.Errorf("the host name is wrong: %q", ready)
			}
		})
	}
}

// boot starts the test guest with the CD and returns its console up to the line that says
// it is ready.
func boot(t *testing.T, dir string, v Volume) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run.Host{}.Run(ctx, run.Cmd{Path: "qemu-system-x86_64", Args: []string{
			"-machine", "pc,accel=tcg", "-m", "256", "-display", "none", "-serial", "stdio", "-no-reboot",
			"-kernel", dir + "/vmlinuz", "-initrd", dir + "/initrd.img", "-append", "console=ttyS0 quiet mitigations=off",
			"-drive", "file=" + v.Path + ",format=" + v.Format + ",if=ide,media=cdrom",
			"-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n,mac=BC:24:11:00:00:01",
		}, Stdout: writer, Grace: time.Second})
		writer.CloseWithError(fmt.Errorf("qemu ended: %w", err))
		ended <- err
	}()
	var said strings.Builder
	buf := make([]byte, 4096)
	var err error
	for err == nil {
		var n int
		n, err = reader.Read(buf)
		said.Write(buf[:n])
		if i := strings.Index(said.String(), testguest.Ready); i >= 0 && strings.Contains(said.String()[i:], "\n") {
			break
		}
	}
	cancel()
	reader.Close()
	<-ended
	if err != nil {
		t.Fatalf("%v; the guest said:\n%s", err, said.String())
	}
	return said.String()
}
