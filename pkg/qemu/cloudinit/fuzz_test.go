package cloudinit

import (
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// FuzzUserData sees that no value can add lines of its own to what cloud-init reads.
func FuzzUserData(f *testing.F) {
	f.Add("web", "bob", "secret", "ssh-rsa%20A%0A")
	f.Add("web\nruncmd: [reboot]", "a: b", "x\r\ny", "%0d%0aroot")
	f.Add("", "\u2028", "'\"", "%00%85")
	f.Fuzz(func(t *testing.T, name, user, password, keys string) {
		c := &qemu.Config{Name: &name, CIUser: &user, CIPassword: &password, SSHKeys: &keys}
		g := Guest{ID: 100, Config: c}
		text, err := g.userData()
		if err != nil {
			return
		}
		list, _ := sshKeys(c)
		want := 11 + len(list)
		if len(list) > 0 {
			want++
		}
		if user == "root" {
			want -= 2
		}
		lines := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("\n\r\u0085\u2028\u2029", r) })
		if len(lines) != want {
			t.Errorf("%d lines, want %d:\n%s", len(lines), want, text)
		}
	})
}

// FuzzResolver sees that a resolv.conf never yields more than is looked for.
func FuzzResolver(f *testing.F) {
	f.Add(resolver)
	f.Fuzz(func(t *testing.T, text string) {
		servers, domains := parseResolver(text)
		if len(servers) > 3 || len(domains) > 1 {
			t.Errorf("%q, %q", servers, domains)
		}
	})
}
