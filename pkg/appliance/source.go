package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

// A Source is a server that offers a list of templates: at URL.gz, with its signature at
// URL.asc.
type Source struct {
	Host    string // names the list that is kept
	URL     string
	Keyring string // path of the keys that may sign the list; empty for those of all sources
}

// Base is where the templates are that the list has without an address of their own.
func (s Source) Base() string { return strings.TrimSuffix(s.URL[:strings.LastIndex(s.URL, "/")], "/") }

// usualSources are those of upstream.
func usualSources() []Source {
	return []Source{
		{Host: "download.proxmox.com", URL: "http://download.proxmox.com/images/aplinfo-pve-9.dat"},
		{Host: "releases.turnkeylinux.org", URL: "https://releases.turnkeylinux.org/pve/aplinfo.dat"},
	}
}

const maxSourcesFile = 64 << 10

// Sources lists where templates come from: what /etc/virtsmith/appliance-sources says, or
// upstream's two servers where that file is not there.
func (s *Service) Sources() ([]Source, error) {
	name := s.path(sourcesFile)
	text, err := file.Read(name, maxSourcesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return usualSources(), nil
	}
	if err != nil {
		return nil, err
	}
	list, err := ParseSources(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range list {
		if list[i].Keyring != "" {
			list[i].Keyring = s.path(list[i].Keyring)
		}
	}
	return list, nil
}

// ParseSources reads a list of sources: a line each, with the address of the list without
// .gz behind it and, where other keys than the usual may sign it, the path of a keyring. What
// follows a # at the beginning of a word is a comment.
func ParseSources(text string) ([]Source, error) {
	var list []Source
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := strings.Fields(line)
		for i, word := range words {
			if word[0] == '#' {
				words = words[:i]
				break
			}
		}
		if len(words) == 0 {
			continue
		}
		one, err := parseSource(words)
		if err == nil {
			for _, other := range list {
				if other.Host == one.Host {
					err = fmt.Errorf("there is a source on %s already", one.Host)
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		list = append(list, one)
	}
	return list, nil
}

func parseSource(words []string) (Source, error) {
	if len(words) > 2 {
		return Source{}, errors.New("an address and a keyring are all that a line can have")
	}
	if err := fetch.Check(words[0]); err != nil {
		return Source{}, err
	}
	u, err := url.Parse(words[0])
	if err != nil {
		return Source{}, err
	}
	one := Source{Host: strings.ToLower(u.Hostname()), URL: words[0]}
	switch {
	case !isHost(one.Host):
		return one, fmt.Errorf("'%s' is no host", one.Host)
	case u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || path.Base(u.Path) == "/" || path.Base(u.Path) == "." || strings.HasSuffix(u.Path, "/"):
		return one, fmt.Errorf("%s names no file", u.Redacted())
	}
	if len(words) == 2 {
		if one.Keyring = words[1]; !filepath.IsAbs(one.Keyring) {
			return one, fmt.Errorf("'%s' is no absolute path", one.Keyring)
		}
	}
	return one, nil
}
