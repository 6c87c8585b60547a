package disks

import (
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
)

func TestAsksNew(t *testing.T) {
	for _, c := range []struct {
		file    string
		storage id.Storage
		size    string
		ok      bool
	}{
		{"local:8", "local", "8", true},
		{"local:0.5", "local", "0.5", true},
		{"32", "", "32", true},
		{"local:8G", "", "", false},
		{"local:100/vm-100-disk-0.raw", "", "", false},
		{"none", "", "", false},
		{"local:", "", "", false},
		{"local:.5", "", "", false},
	} {
		storeid, size, ok := asksNew(c.file)
		if storeid != c.storage || size != c.size || ok != c.ok {
			t.Errorf("%s: %q %q %v", c.file, storeid, size, ok)
		}
	}
}

func TestAsksCloudInit(t *testing.T) {
	for file, want := range map[string]bool{
		"local:cloudinit": true, "cloudinit": true, "local:100/vm-100-cloudinit.qcow2": false, "mycloudinit": false, "a:b:cloudinit": false, ":cloudinit": true,
	} {
		if _, ok := asksCloudInit(file); ok != want {
			t.Errorf("%s: %v", file, ok)
		}
	}
}

func TestLimitIn(t *testing.T) {
	for _, c := range []struct {
		text, operation string
		limit           float64
		ok              bool
	}{
		{"", "clone", 0, false},
		{"clone=100,default=7", "clone", 100, true},
		{"clone=100,default=7", "move", 7, true},
		{"move=x", "move", 0, false},
	} {
		if limit, ok := limitIn(c.text, c.operation); limit != c.limit || ok != c.ok {
			t.Errorf("%q for %s: %v %v", c.text, c.operation, limit, ok)
		}
	}
}

func TestWished(t *testing.T) {
	const now = 1 << 30
	for text, want := range map[string]int64{"2G": 2 << 30, "+1G": 2 << 30, "+1.5K": now + 1536, "1": 1} {
		if size, err := wished(text, now); err != nil || size != want {
			t.Errorf("%s: %d, %v", text, size, err)
		}
	}
	if _, err := wished("+9000000T", 1<<62); err == nil {
		t.Error("a size beyond all bounds is taken")
	}
}
