package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/virtsmith/virtsmith/cmd/internal/script"
	"github.com/virtsmith/virtsmith/pkg/appliance/appliancetest"
	"github.com/virtsmith/virtsmith/pkg/cli/pveam"
)

func TestMain(m *testing.M) { script.Main(m, "pveam", pveam.Main) }

func TestEveryCommandHasAScript(t *testing.T) { script.Covers(t, pveam.Tool()) }

const (
	small = "debian-12-standard_12.1-1_amd64.tar.zst"
	large = "alpine-3.22-default_1.0-1_amd64.tar.xz"
	slow  = "slow-1.0-default_1.0-1_amd64.tar.gz"
	wrong = "wrong-1.0-default_1.0-1_amd64.tar.gz"
	gone  = "gone-1.0-default_1.0-1_amd64.tar.gz"
	mail  = "debian-4.0-mailgateway_2.4-2_i386.tar.gz"
)

// TestScripts plays sessions with a server at $SERVER, whose list at /pve/list is signed. A
// script has, beside the usual words:
//
//	sources PATH...   the lists that are the sources of the node, with the key that they are signed by
func TestScripts(t *testing.T) {
	key, server := appliancetest.NewKey(t), appliancetest.NewServer(t)
	content := map[string][]byte{small: []byte("a small template"), large: []byte(strings.Repeat("much of it ", 200000)), slow: []byte("s"), wrong: []byte("w"), gone: []byte("g")}
	list := ""
	for _, name := range []string{small, large, slow, wrong, gone} {
		pkg, _, _ := strings.Cut(name, "_")
		list += appliancetest.Paragraph(pkg, "system", "system/"+name, content[name])
		server.File("/pve/system/"+name, content[name])
	}
	list += "Package: debian-4.0-mailgateway\nVersion: 2.4-2\nType: openvz\nOS: debian-4.0\nSection: mail\nInfopage: http://example.org\nDescription: old\n"
	server.Stuck("/pve/system/"+slow, []byte("s"), 1000)
	server.File("/pve/system/"+wrong, []byte("what nobody has signed"))
	server.Handle("/pve/system/"+gone, nil)
	server.List(t, key, "/pve/list", list)
	server.File("/changed/list.gz", appliancetest.Pack([]byte(strings.ReplaceAll(list, "system", "evil"))))
	server.File("/changed/list.asc", key.Sign(t, []byte(list)))
	keys := key.Public(t)

	script.Run(t, func(p *testscript.Params) {
		setup := p.Setup
		p.Setup = func(e *testscript.Env) error {
			e.Setenv("SERVER", server.URL)
			for name, value := range map[string]string{"SMALL": small, "LARGE": large, "SLOW": slow, "WRONG": wrong, "GONE": gone, "OLD": mail} {
				e.Setenv(name, value)
			}
			return setup(e)
		}
		p.Cmds["sources"] = func(ts *testscript.TestScript, _ bool, paths []string) {
			text := ""
			for _, path := range paths {
				text += server.URL + path + "\n"
			}
			dir := ts.MkAbs("etc/virtsmith")
			ts.Check(os.MkdirAll(dir, 0o755))
			ts.Check(os.WriteFile(filepath.Join(dir, "appliance-sources"), []byte(text), 0o644))
			ts.Check(os.WriteFile(filepath.Join(dir, "appliance-keyring.gpg"), keys, 0o644))
		}
	})
}
