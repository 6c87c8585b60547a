package restore

import (
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Merge puts the options of a backup into a new configuration.
type Merge struct {
	// Restricted leaves the lines for LXC out, which only root may set.
	Restricted bool
	// Unique gives the network cards new addresses: the container is another one than was
	// backed up.
	Unique bool
	NewMAC func() (string, error)
}

// Into adds to the values of a new container what the backup has and they have not. Mount
// points, and what belongs to the container that was backed up, stay out: its lock, its
// parent, its unused volumes. It returns the lines for LXC that were left out.
func (m Merge) Into(values, backup schema.Params) (skipped []container.RawLine, err error) {
	for key, value := range backup {
		switch {
		case isLeftOut(key):
			continue
		case key == config.RawKey && m.Restricted:
			skipped = container.RawLines(backup)
			continue
		case m.Unique && isNet(key):
			if values[key], err = m.net(key, value); err != nil {
				return nil, err
			}
			continue
		}
		if _, ok := values[key]; !ok {
			values[key] = value
		}
	}
	return skipped, nil
}

func isLeftOut(key string) bool {
	switch key {
	case "unprivileged", "parent", "template", "lock", "digest", "snaptime", "snapstate":
		return true
	}
	return container.IsMountPoint(key) || guest.IsUnused(key)
}

func isNet(key string) bool {
	family, _, ok := schema.Member(key)
	return ok && family == "net"
}

func (m Merge) net(key, value string) (string, error) {
	keys := keysOf(key)
	p, err := keys.ParseString(value)
	if err != nil {
		return value, nil //nolint:nilerr // what is not understood stays
	}
	if p["hwaddr"], err = m.NewMAC(); err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return keys.PrintString(p), nil
}

// SkippedText is what the user is told of lines that were left out.
func SkippedText(lines []container.RawLine) string {
	const rule = "--------------------------------\n"
	text := "skipping custom lxc options, restore manually as root:\n" + rule
	for _, l := range lines {
		text += l.String() + "\n"
	}
	return text + rule
}
