package qm

import (
	"strings"
	"testing"
)

func TestSetMemoryRunning(t *testing.T) {
	s := newSandbox(t)
	s.boot("--hotplug", "network,disk,usb,memory,cloudinit", "--numa", "1", "--memory", "1024", "--ide3", "local:cloudinit", "--ciuser", "bob")
	megabytes := "awk '/MemTotal/ {print int($2/1024/256)}' /proc/meminfo"
	s.sees(megabytes, "3")
	s.must("set", "100", "--memory", "2048")
	s.sees(megabytes, "7")
	s.must("set", "100", "--memory", "1024")
	s.sees(megabytes, "3")
	s.holds("memory: 1024")
	s.refused("minimum memory must be 1024MB", "set", "100", "--memory", "512")
	s.must("set", "100", "--revert", "memory")

	// The data for cloud-init change with the options.
	s.sees("dd if=/dev/sr0 bs=2048 2>/dev/null | strings | grep ^user:", "user: bob")
	s.must("set", "100", "--ciuser", "alice")
	if text := s.config(100); strings.Contains(text, "[special:cloudinit]") {
		t.Errorf("the drive is behind:\n%s", text)
	}
	s.sees("dd if=/dev/sr0 bs=2048 2>/dev/null | strings | grep ^user:", "user: alice")
	// Without that feature of hotplug they wait until they are asked for.
	s.must("set", "100", "--hotplug", "network,disk,usb,memory")
	s.must("set", "100", "--ciuser", "carol")
	if out := s.must("cloudinit", "pending", "100"); !strings.Contains(out, "cur ciuser: alice\nnew ciuser: carol\n") {
		t.Errorf("pending: %s", out)
	}
	s.must("cloudinit", "update", "100")
	s.sees("dd if=/dev/sr0 bs=2048 2>/dev/null | strings | grep ^user:", "user: carol")

	s.must("set", "100", "--cpulimit", "0.5", "--agent", "1,freeze-fs=0")
	s.holds("cpulimit: 0.5", "agent: 1,freeze-fs=0")
}
