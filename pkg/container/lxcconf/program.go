package lxcconf

import (
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// Program returns the words of the option entrypoint where LXC would take them for others: before
// version 6 it knows no quotes. They have to be given to it apart from its configuration then.
func Program(version lxc.Version, conf *container.Config, raw []container.RawLine) []string {
	own := slices.ContainsFunc(raw, func(l container.RawLine) bool { return container.CurrentKey(l.Key) == "lxc.init.cmd" })
	if own || conf.Entrypoint == nil || version.AtLeast(6, 0) || !strings.ContainsAny(*conf.Entrypoint, `"'`) {
		return nil
	}
	return words(*conf.Entrypoint)
}

// words splits a command line as LXC does since version 6: a word that begins with a quote ends at
// the next one, any other at a blank.
func words(line string) []string {
	var all []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return all
		}
		end := strings.IndexAny(line, " \t")
		if quote := line[0]; quote == '"' || quote == '\'' {
			line = line[1:]
			end = strings.IndexByte(line, quote)
		}
		if end < 0 {
			return append(all, line)
		}
		all, line = append(all, line[:end]), line[end+1:]
	}
}
