package link_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// modules are what the tests need of a kernel, each after those it needs.
const modules = "llc stp bridge tun veth ifb sch_tbf sch_ingress cls_u32 act_police act_mirred garp mrp 8021q"

// TestInGuest runs the tests of this package once more inside the test guest,
// whose kernel has VLANs, VLAN-aware bridges and a policer.
func TestInGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a guest")
	}
	if os.Getenv("IN_GUEST") != "" {
		t.Skip("is in the guest")
	}
	for _, name := range []string{"qemu-system-x86_64", "dpkg-deb", "ldd", "ip", "bridge", "tc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	dir, tmp := testguest.Dir(t), t.TempDir()
	initrd := filepath.Join(tmp, "initrd")
	base, err := os.ReadFile(filepath.Join(dir, "initrd.img"))
	must(t, err)
	must(t, os.WriteFile(initrd, append(base, overlay(t, dir, tmp)...), 0o644))

	agent := filepath.Join(tmp, "agent")
	qemu := exec.Command("qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-cpu", "qemu64", "-m", "512",
		"-kernel", filepath.Join(dir, "vmlinuz"), "-initrd", initrd, "-append", "quiet mitigations=off", "-device", "virtio-serial",
		"-chardev", "socket,id=ga,path="+agent+",server=on,wait=off", "-device", "virtserialport,chardev=ga,name=org.qemu.guest_agent.0")
	must(t, qemu.Start())
	t.Cleanup(func() { qemu.Process.Kill(); qemu.Wait() })

	var a *qmp.Agent
	for start := time.Now(); a == nil; {
		if a, err = qmp.DialAgent(t.Context(), agent); err != nil && time.Since(start) > 90*time.Second {
			t.Fatal(err)
		}
	}
	defer a.Close()
	out, err := a.Exec(t.Context(), []string{"/bin/sh", "/t/run"}, nil)
	must(t, err)
	t.Logf("%s", out.Out)
	if out.Code == nil || *out.Code != 0 || bytes.Contains(out.Out, []byte("--- SKIP: TestVLAN")) {
		t.Errorf("in the guest: %v", out.Code)
	}
}

// overlay is an archive with this test program, the tools it uses, their
// libraries and the modules, which the kernel unpacks over the guest's system.
func overlay(t *testing.T, dir, tmp string) []byte {
	t.Helper()
	files := map[string]string{} // name in the archive to path
	self, err := os.Executable()
	must(t, err)
	library := regexp.MustCompile(`=> (/\S+)`)
	for name, path := range map[string]string{"test": self, "ip": "", "bridge": "", "tc": ""} {
		if path == "" {
			path, err = exec.LookPath(name)
			must(t, err)
		}
		files["t/"+name] = path
		// A program without libraries makes ldd fail, which is fine.
		needs, _ := exec.Command("ldd", path).Output()
		for _, m := range library.FindAllSubmatch(needs, -1) {
			files["t/lib/"+filepath.Base(string(m[1]))] = string(m[1])
		}
	}
	kernel, err := filepath.Glob(filepath.Join(dir, "cache", "linux-image-*cloud*.deb"))
	must(t, err)
	if len(kernel) == 0 {
		t.Skip("the package of the guest's kernel is not in its cache")
	}
	unpacked := filepath.Join(tmp, "kernel")
	must(t, exec.Command("dpkg-deb", "-x", kernel[len(kernel)-1], unpacked).Run())
	for name := range strings.FieldsSeq(modules) {
		found, err := exec.Command("find", unpacked, "-name", name+".ko").Output()
		must(t, err)
		if path := strings.TrimSpace(string(found)); path != "" {
			files["t/"+name+".ko"] = path
		}
	}
	run := "export LD_LIBRARY_PATH=/t/lib PATH=/t:$PATH IN_GUEST=1\nfor m in " + modules + "; do insmod /t/$m.ko; done\n" +
		"mkdir -p /dev/net; [ -c /dev/net/tun ] || mknod /dev/net/tun c 10 200\ncd /t && ./test -test.v 2>&1\n"
	must(t, os.WriteFile(filepath.Join(tmp, "run"), []byte(run), 0o644))
	files["t/run"] = filepath.Join(tmp, "run")

	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	must(t, err)
	entry(z, "t", 0o40755, nil)
	entry(z, "t/lib", 0o40755, nil)
	for name, path := range files {
		data, err := os.ReadFile(path)
		must(t, err)
		entry(z, name, 0o100755, data)
	}
	entry(z, "TRAILER!!!", 0, nil)
	must(t, z.Close())
	return out.Bytes()
}

// entry writes one file in the archive format of the kernel (cpio, newc).
func entry(w io.Writer, name string, mode int, data []byte) {
	pad := func(n int) string { return "\x00\x00\x00"[:(4-n%4)%4] }
	fmt.Fprintf(w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00%s",
		0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name, pad(110+len(name)+1))
	w.Write(data)
	io.WriteString(w, pad(len(data)))
}
