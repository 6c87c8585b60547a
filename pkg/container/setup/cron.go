package setup

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

var (
	cronFile = pattern.New(`^[A-Za-z0-9_-]+$`)
	cronLine = pattern.New(`^\d+(\s+\S+\s+\S+\s+\S+\s+\S+\s+root\s+\S.*)$`)
)

// spreadCron has root's jobs start at a minute of this container's own, so that the containers
// of one template do not all do their daily work at once.
func (t *Target) spreadCron() error {
	const folder = "/etc/cron.d"
	files := []string{"/etc/crontab"}
	names, err := t.Root.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	for _, name := range names {
		if cronFile.MatchString(name) {
			files = append(files, folder+"/"+name)
		}
	}
	for _, name := range files {
		if err := t.Edit(name, t.spread); err != nil {
			return err
		}
	}
	return nil
}

// spread changes the minutes in a crontab.
func (t *Target) spread(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if rest := cronLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); rest != nil {
			line = strconv.Itoa(int(t.Env.Random()*59)) + rest[1] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}
