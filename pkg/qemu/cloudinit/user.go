package cloudinit

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// userData is what cloud-init calls a cloud-config.
func (g Guest) userData() (string, error) {
	c := g.Config
	keys, err := sshKeys(c)
	if err != nil {
		return "", err
	}
	host, full := g.names()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#cloud-config")
	line("hostname: %s", scalar(host))
	line("manage_etc_hosts: true")
	line("fqdn: %s", scalar(full))
	if c.CIUser != nil {
		line("user: %s", scalar(*c.CIUser))
	}
	if c.CIPassword != nil {
		line("password: %s", scalar(*c.CIPassword))
	}
	if len(keys) > 0 {
		line("ssh_authorized_keys:")
	}
	for _, key := range keys {
		line("  - %s", scalar(key))
	}
	line("chpasswd:\n  expire: False")
	if c.CIUser == nil || *c.CIUser != "root" {
		line("users:\n  - default")
	}
	if c.CIUpgrade == nil || *c.CIUpgrade {
		line("package_upgrade: true")
	}
	return b.String(), nil
}

// sshKeys returns the keys of sshkeys, one per line there and URL encoded.
func sshKeys(c *qemu.Config) ([]string, error) {
	if c.SSHKeys == nil {
		return nil, nil
	}
	text, err := url.PathUnescape(*c.SSHKeys) // a plus sign stands for itself
	if err != nil {
		return nil, fmt.Errorf("sshkeys: %w", err)
	}
	var keys []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			keys = append(keys, line)
		}
	}
	return keys, nil
}

// notText matches words that YAML takes for numbers, times, truths or nothing.
var notText = pattern.New(`(?i)^([-+.0-9][-+._:0-9]*(e[-+]?[0-9]+)?|0x[0-9a-f_]+|0o[0-7_]+|[-+]?\.(inf|nan)|y|n|yes|no|on|off|true|false|null|~)$`)

// plainText matches what needs no quotes in YAML.
var plainText = pattern.New(`^[A-Za-z0-9_./$+=(\\^][^\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}\x{feff}]*$`)

// scalar writes text as a YAML string, with quotes only where they are needed.
func scalar(text string) string {
	if !utf8.ValidString(text) || !plainText.MatchString(text) || notText.MatchString(text) ||
		strings.Contains(text, ": ") || strings.Contains(text, " #") || strings.HasSuffix(text, ":") || strings.HasSuffix(text, " ") {
		return strconv.Quote(text)
	}
	return text
}

// cloudbaseMeta is the metadata of a Windows guest: cloudbase-init takes the password and
// the keys from there, and the password in clear.
func (g Guest) cloudbaseMeta(instance string) (string, error) {
	keys, err := sshKeys(g.Config)
	if err != nil {
		return "", err
	}
	host, _ := g.names()
	meta := map[string]any{
		"uuid": instance, "hostname": host, "network_config": map[string]string{"content_path": "/content/0000"},
	}
	if g.Config.CIPassword != nil {
		meta["meta"] = map[string]string{"admin_pass": *g.Config.CIPassword}
	}
	if len(keys) > 0 {
		named := map[string]string{}
		for i, key := range keys {
			named["key-"+strconv.Itoa(i)] = key
		}
		meta["public_keys"] = named
	}
	text, err := json.MarshalIndent(meta, "", "  ")
	return string(text) + "\n", err
}
