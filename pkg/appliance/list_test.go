package appliance

import (
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

const sample = `Package: pve-web-news
Description: What is new
  <b>much</b>

Package: alpine-3.22-default
Version: 20250617
Type: lxc
OS: alpine
Section: system
Maintainer: Somebody <some@example.org>
Architecture: amd64
Location: system/alpine-3.22-default_20250617_amd64.tar.xz
md5sum: 7876712DA358F2536DC0BAA18169AED4
Infopage: https://linuxcontainers.org
Description: A small one
 of which there
 is not much.
ManageUrl: https://__IPADDRESS__:8006


package: debian-4.0-mailgateway
version: 2.4-2
type: openvz
os: debian-4.0
infopage: http://www.example.org/
description: An old one

Package: turnkey-core
Version: 18.0-1
Type: lxc
OS: debian-12
Section: turnkeylinux
Certified: no
Location: http://mirror.example.org/images/proxmox/debian-12-turnkey-core_18.0-1_amd64.tar.gz
Infopage: https://www.example.org/core
Description: Core
`

func TestParseList(t *testing.T) {
	got, err := ParseList(sample, "http://example.org/images")
	if err != nil {
		t.Fatal(err)
	}
	want := []Template{
		{
			Package: "alpine-3.22-default", Version: "20250617", Type: "lxc", OS: "alpine", Section: "system", Headline: "A small one",
			Description: "of which there is not much.", Maintainer: "Somebody <some@example.org>", Architecture: "amd64",
			Infopage: "https://linuxcontainers.org", ManageURL: "https://__IPADDRESS__:8006", MD5: "7876712da358f2536dc0baa18169aed4",
			Location: "http://example.org/images/system/alpine-3.22-default_20250617_amd64.tar.xz",
			Source:   "http://example.org/images", Template: "alpine-3.22-default_20250617_amd64.tar.xz",
		},
		{
			Package: "debian-4.0-mailgateway", Version: "2.4-2", Type: "openvz", OS: "debian-4.0", Section: "unknown", Headline: "An old one",
			Infopage: "http://www.example.org/", Location: "http://example.org/images/unknown/debian-4.0-mailgateway_2.4-2_i386.tar.gz",
			Source: "http://example.org/images", Template: "debian-4.0-mailgateway_2.4-2_i386.tar.gz",
		},
		{
			Package: "turnkey-core", Version: "18.0-1", Type: "lxc", OS: "debian-12", Section: "turnkeylinux", Certified: "no", Headline: "Core",
			Infopage: "https://www.example.org/core", Location: "http://mirror.example.org/images/proxmox/debian-12-turnkey-core_18.0-1_amd64.tar.gz",
			Source: "http://example.org/images", Template: "debian-12-turnkey-core_18.0-1_amd64.tar.gz",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if sum := got[0].Sum(); sum != (fetch.Checksum{Algorithm: "md5", Hex: "7876712da358f2536dc0baa18169aed4"}) {
		t.Error(sum)
	}
}

func TestParseListRefuses(t *testing.T) {
	good := "Package: a\nVersion: 1\nType: lxc\nOS: b\nInfopage: https://example.org\n"
	for name, c := range map[string]struct{ text, want string }{
		"not complete":        {"Package: a\nVersion: 1\n", "there is no type"},
		"no field":            {good + "what\n", "line 6 has no name and value"},
		"goes on at once":     {" x\n" + good, "line 1 goes on with nothing"},
		"twice":               {good + "OS: c\n", "there are two of 'os'"},
		"version":             {strings.Replace(good, "Version: 1", "Version: x/../y", 1), "version = 'x/../y'"},
		"type":                {strings.Replace(good, "lxc", "qemu", 1), "unknown type 'qemu'"},
		"package":             {strings.Replace(good, "Package: a", "Package: ../a", 1), "package = '../a'"},
		"package of a list":   {strings.Replace(good, "Package: a", "Package: a\x1b[2J", 1), "package = 'a?[2J'"},
		"section":             {good + "Section: ../../x\n", "section = '../../x'"},
		"architecture":        {good + "Architecture: a/b\n", "architecture = 'a/b'"},
		"page":                {strings.Replace(good, "https://example.org", "javascript:alert(1)", 1), "infopage = "},
		"page, other":         {good + "ManageUrl: https://\"onclick=x\n", "manageurl = "},
		"location up":         {good + "Location: ../x.tar.gz\n", "location = '../x.tar.gz'"},
		"location up inside":  {good + "Location: a/../../x.tar.gz\n", "location = 'a/../../x.tar.gz'"},
		"location absolute":   {good + "Location: /x.tar.gz\n", "location = '/x.tar.gz'"},
		"location of a host":  {good + "Location: //evil/x.tar.gz\n", "location = '//evil/x.tar.gz'"},
		"location of a file":  {good + "Location: file:///etc/x.tar.gz\n", "location = 'file:///etc/x.tar.gz': only http and https are taken"},
		"location encoded":    {good + "Location: http://h/a%2f..%2fx.tar.gz\n", "location = 'http://h/a%2f..%2fx.tar.gz'"},
		"location with user":  {good + "Location: http://a:b@h/x.tar.gz\n", "location = "},
		"location with query": {good + "Location: http://h/y?x.tar.gz\n", "location = "},
		"hidden file":         {good + "Location: http://h/.x.tar.gz\n", "'.x.tar.gz' is no name of a template"},
		"blank in the name":   {good + "Location: http://h/a%20b.tar.gz\n", "is no name of a template"},
		"no template":         {good + "Location: x/y.sh\n", "'y.sh' is no name of a template"},
		"long name":           {good + "Location: http://h/" + strings.Repeat("y", 250) + ".tar.gz\n", "yyy…' is no name of a template"},
		"colon":               {strings.Replace(good, "Version: 1", "Version: 1:2", 1), "is no name of a template"},
		"checksum":            {good + "sha512sum: 12\n", "is no checksum of sha512"},
		"other checksum":      {good + "md5sum: " + strings.Repeat("g", 32) + "\n", "is no checksum of md5"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseList(c.text+"\n"+good, "http://example.org")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(got) != 1 || got[0].Template != "b-a_1_i386.tar.gz" {
				t.Errorf("the good one is lost: %+v", got)
			}
		})
	}
}

func TestParseListIsBounded(t *testing.T) {
	_, err := ParseList(strings.Repeat("x\n\n", 10000), "http://example.org")
	if err == nil || strings.Count(err.Error(), "\n") > maxFaults+2 {
		t.Errorf("%d lines", strings.Count(err.Error(), "\n"))
	}
}

// FuzzParseList: whatever a list says, its templates are files of the folder that they
// belong into, addresses of the web, and nothing that a terminal obeys.
func FuzzParseList(f *testing.F) {
	f.Add(sample)
	f.Add("Package: a\nVersion: 1\nType: lxc\nOS: ..\nInfopage: http://x\nLocation: a/../b.tar.gz")
	f.Add("\r\n \tPackage:\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, _ := ParseList(text, "http://example.org/images")
		for _, one := range got {
			if path.Base(one.Template) != one.Template || filepath.Join("/d", one.Template) != "/d/"+one.Template || strings.HasPrefix(one.Template, ".") {
				t.Errorf("%q leads elsewhere", one.Template)
			}
			if _, err := tree.Parse("vztmpl/" + one.Template); err != nil {
				t.Error(err)
			}
			if err := fetch.Check(one.Location); err != nil || strings.Contains(one.Location, "/../") {
				t.Errorf("%q: %v", one.Location, err)
			}
			for _, value := range []string{one.Package, one.Headline, one.Description, one.Maintainer, one.Location, one.Template, one.Section, one.Certified} {
				if clean(value) != strings.TrimSpace(value) {
					t.Errorf("%q is not clean", value)
				}
			}
		}
	})
}

func TestParseSources(t *testing.T) {
	got, err := ParseSources("# where from\nhttp://Mirror.example.org/images/aplinfo-pve-9.dat  # ours\n\nhttps://example.net:8443/list /etc/key.gpg\n")
	want := []Source{
		{Host: "mirror.example.org", URL: "http://Mirror.example.org/images/aplinfo-pve-9.dat"},
		{Host: "example.net", URL: "https://example.net:8443/list", Keyring: "/etc/key.gpg"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if base := want[0].Base(); base != "http://Mirror.example.org/images" {
		t.Error(base)
	}
	if base := want[1].Base(); base != "https://example.net:8443" {
		t.Error(base)
	}
	for text, want := range map[string]string{
		"ftp://h/x":                    "line 1: ftp://h/x: only http and https are taken",
		"\nhttp://h":                   "line 2: http://h names no file",
		"http://h/":                    "names no file",
		"http://h/x/":                  "names no file",
		"http://h/x?y":                 "names no file",
		"http:///x":                    "there is no host in it",
		"http://..%2f/x":               "that is no URL",
		"http://[::1]/x":               "'::1' is no host",
		"http://h/x key":               "'key' is no absolute path",
		"http://h/x /k more":           "all that a line can have",
		"http://h/x\nhttps://H:8443/y": "line 2: there is a source on h already",
	} {
		if _, err := ParseSources(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseSources(f *testing.F) {
	f.Add("http://h/x /k # y\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseSources(text)
		if err != nil {
			return
		}
		for _, one := range list {
			if path.Base(one.Host) != one.Host || one.Host == ".." || one.Host == "." || fetch.Check(one.Base()) != nil {
				t.Errorf("%+v", one)
			}
		}
	})
}

func TestUsualSourcesAreGood(t *testing.T) {
	for _, one := range usualSources() {
		got, err := ParseSources(one.URL)
		if diff := cmp.Diff([]Source{one}, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct{ status, want string }{
		"good":        {"[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 1234 a\n[GNUPG:] VALIDSIG 12\n", ""},
		"two":         {"[GNUPG:] GOODSIG 1234 a\n[GNUPG:] NO_PUBKEY 5678\n", ""},
		"bad":         {"[GNUPG:] GOODSIG 1234 a\n[GNUPG:] BADSIG 5678 a\n", "bad signature: what is signed is something else"},
		"revoked":     {"[GNUPG:] REVKEYSIG 1234 a\n[GNUPG:] VALIDSIG 12\n", "bad signature: its key was revoked"},
		"expired key": {"[GNUPG:] EXPKEYSIG 1234 a\n[GNUPG:] VALIDSIG 12\n", "bad signature: its key has expired: put the renewed one into the keyring"},
		"nothing":     {"", "bad signature: it is not understood"},
		"no data":     {"[GNUPG:] NODATA 4\n", "bad signature: there is none"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := judge(c.status); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
