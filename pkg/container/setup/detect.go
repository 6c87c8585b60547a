package setup

import (
	"errors"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// ErrUnknown is the error of a root with a distribution that no package here knows.
var ErrUnknown = errors.New("unable to detect OS distribution")

// Detect returns the ostype of what stands in root: unmanaged for a root that names none at all.
func Detect(root *rootfs.Root, known []Distribution, warnf func(string, ...any)) (string, error) {
	release, err := readRelease(root)
	if err != nil {
		return "", err
	}
	found, err := detect(root, release, known, warnf)
	if err != nil || found == nil {
		return Unmanaged, err
	}
	return found.Type, nil
}

func detect(root *rootfs.Root, release map[string]string, known []Distribution, warnf func(string, ...any)) (*Distribution, error) {
	if id := release["ID"]; id != "" {
		for i, d := range known {
			if d.Type == id || slices.Contains(d.IDs, id) {
				return &known[i], nil
			}
		}
		warnf("unknown ID '%s' in /etc/os-release file, trying fallback detection", id)
	}
	// Ubuntu has the file of Debian too, so its own word comes first.
	if lsb, err := root.ReadFile("/etc/lsb-release", small); err == nil && ubuntuLSB.Match(lsb) {
		if i := slices.IndexFunc(known, func(d Distribution) bool { return d.Type == "ubuntu" }); i >= 0 {
			return &known[i], nil
		}
	}
	for i, d := range known {
		for _, name := range d.Files {
			info, err := root.Stat(name)
			if err == nil && info.IsDir() == strings.HasSuffix(name, "/") {
				return &known[i], nil
			}
		}
	}
	if len(release) > 0 {
		return nil, ErrUnknown
	}
	warnf("/etc/os-release file not found and autodetection failed, falling back to 'unmanaged'")
	return nil, nil
}

var ubuntuLSB = pattern.New(`(?mi)^DISTRIB_ID="?Ubuntu"?$`)

// small bounds files that tell a version.
const small = 64 << 10

// readRelease reads os-release; a root without it gives an empty map.
func readRelease(root *rootfs.Root) (map[string]string, error) {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := root.ReadFile(name, small)
		if err == nil {
			return ParseRelease(string(data)), nil
		}
		if !absent(err) {
			return nil, err
		}
	}
	return nil, nil
}

// ParseRelease reads an os-release: NAME=value as a shell takes it, without any expansion.
func ParseRelease(text string) map[string]string {
	release := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && releaseKey.MatchString(key) {
			release[key] = unquote(value)
		}
	}
	return release
}

var releaseKey = pattern.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

// unquote takes the quotes of a shell off a word.
func unquote(value string) string {
	if rest, ok := strings.CutPrefix(value, "'"); ok {
		value, _, _ = strings.Cut(rest, "'")
		return value
	}
	rest, quoted := strings.CutPrefix(value, `"`)
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		case quoted && c == '"', !quoted && strings.IndexByte(" \t;'\"`$", c) >= 0:
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
