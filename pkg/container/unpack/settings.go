package unpack

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
)

// defaultInit is what a container runs that says nothing.
const defaultInit = "/sbin/init"

// An Image tells how an OCI image is to be run.
type Image struct {
	Arch       string // in PVE's words, empty where the image has none that is known
	Command    []string
	Env        []string // NAME=value
	WorkingDir string
	User       string // user, or user:group, by name or number
	StopSignal string
	Volumes    []string
}

func (i *image) settings() *Image {
	c := i.config.Config
	s := &Image{
		Command: slices.Concat(c.Entrypoint, c.Cmd), Env: c.Env, WorkingDir: c.WorkingDir, User: c.User, StopSignal: c.StopSignal,
		Volumes: slices.Sorted(maps.Keys(c.Volumes)),
	}
	for _, pair := range archNames() {
		if pair[1] == i.config.Architecture {
			s.Arch = pair[0]
		}
	}
	return s
}

// Settings are what a container is configured with to run an image.
type Settings struct {
	Options map[string]string // entrypoint, env, cmode; ready for a configuration
	Lines   []container.RawLine
	// HostManaged says that nothing in the container sets up its network.
	HostManaged bool
	Warnings    []string // what of the image cannot be kept
}

// Files reads a file of the root of a container; what leads out of it is not followed.
type Files func(name string) ([]byte, error)

// Settings translates what an image says into options and lines for LXC. All of it comes
// from whoever made the image, so what could be read as something else is left out.
func (i *Image) Settings(files Files) Settings {
	s := Settings{Options: map[string]string{}}
	if i.Arch != "" {
		s.Options["arch"] = i.Arch
	}
	s.command(i.Command)
	s.env(i.Env)
	if s.HostManaged { // init knows what LXC sends; no other program does
		s.stopSignal(i.StopSignal)
	}
	s.workingDir(i.WorkingDir)
	if i.User != "" {
		if err := s.user(i.User, files); err != nil {
			s.warnf("user '%s' of the image is left out: %v", i.User, err)
		}
	}
	return s
}

func (s *Settings) warnf(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

func (s *Settings) line(key, value string) {
	s.Lines = append(s.Lines, container.RawLine{Key: key, Value: value})
}

// hasControl tells whether a text has characters that no option may have.
func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (s *Settings) command(words []string) {
	if len(words) == 0 {
		return
	}
	line := make([]string, len(words))
	for n, word := range words {
		text, err := quote(word, n > 0)
		if err != nil {
			s.warnf("the command of the image is left out: %v", err)
			return
		}
		line[n] = text
	}
	command := strings.Join(line, " ")
	if command == defaultInit {
		return
	}
	s.Options["entrypoint"] = command
	// No such program opens consoles, or sets up a network.
	s.Options["cmode"] = "console"
	s.HostManaged = true
}

// quote writes a word so that LXC, which knows quotes but no way to write one inside of
// its kind, reads it again.
func quote(word string, always bool) (string, error) {
	switch {
	case hasControl(word):
		return "", fmt.Errorf("%q has characters that cannot be kept", word)
	case !always && word != "" && !strings.ContainsAny(word, " \t\"'"):
		return word, nil
	case !strings.Contains(word, `"`):
		return `"` + word + `"`, nil
	case !strings.Contains(word, `'`):
		return `'` + word + `'`, nil
	}
	return "", fmt.Errorf("%s has quotes of both kinds", word)
}

func (s *Settings) env(list []string) {
	variable := regexp.MustCompile(`^\w+=`)
	var kept []string
	for _, text := range list {
		if hasControl(text) || !variable.MatchString(text) {
			name, _, _ := strings.Cut(text, "=")
			s.warnf("variable %q of the image is left out: it cannot be kept", name)
			continue
		}
		kept = append(kept, text)
	}
	if len(kept) > 0 {
		s.Options["env"] = strings.Join(kept, "\x00")
	}
}

func (s *Settings) stopSignal(name string) {
	if name == "" {
		name = "SIGTERM"
	}
	if !regexp.MustCompile(`^(?:(?:SIG)?[A-Z][A-Z0-9]*(?:[+-][0-9]+)?|[0-9]{1,2})$`).MatchString(name) {
		s.warnf("the signal %q to stop the image is none that is known", name)
		name = "SIGTERM"
	}
	if name[0] >= 'A' && !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	s.line("lxc.signal.halt", name)
}

func (s *Settings) workingDir(dir string) {
	if dir == "" {
		return
	}
	if hasControl(dir) || !path.IsAbs(dir) {
		s.warnf("the working folder %q of the image is left out", dir)
		return
	}
	s.line("lxc.init.cwd", path.Clean(dir))
}

// user finds the numbers of a user as etc/passwd and etc/group of the container have them.
func (s *Settings) user(text string, files Files) error {
	if hasControl(text) {
		return fmt.Errorf("its name cannot be kept")
	}
	name, group, withGroup := strings.Cut(text, ":")
	account, err := findUser(name, files)
	if err != nil {
		return err
	}
	if withGroup && group != "" {
		if account.gid, err = findGroup(group, files); err != nil {
			return err
		}
		account.groups = nil
	}
	s.line("lxc.init.uid", strconv.FormatUint(account.uid, 10))
	s.line("lxc.init.gid", strconv.FormatUint(account.gid, 10))
	if len(account.groups) > 0 {
		s.line("lxc.init.groups", strings.Join(account.groups, ","))
	}
	return nil
}

// An account is a user with his groups.
type account struct {
	uid, gid uint64
	groups   []string
}

// findUser finds a user by name or number; a number that is nobody's is a user of group 0.
func findUser(name string, files Files) (account, error) {
	number, numErr := strconv.ParseUint(name, 10, 32)
	passwd, err := files("etc/passwd")
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 4 || f[0] == "" || f[0] != name && (numErr != nil || f[2] != name) {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 == nil && err2 == nil {
			return account{uid, gid, groupsOf(f[0], f[3], files)}, nil
		}
	}
	if numErr == nil {
		return account{uid: number}, nil
	}
	if err != nil {
		return account{}, err
	}
	return account{}, fmt.Errorf("etc/passwd of the image does not have it")
}

func findGroup(name string, files Files) (uint64, error) {
	if number, err := strconv.ParseUint(name, 10, 32); err == nil {
		return number, nil
	}
	text, err := files("etc/group")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) >= 3 && f[0] == name {
			return strconv.ParseUint(f[2], 10, 32)
		}
	}
	return 0, fmt.Errorf("etc/group of the image does not have '%s'", name)
}

// groupsOf lists the groups that a user is a member of beside his own.
func groupsOf(name, own string, files Files) []string {
	text, err := files("etc/group")
	if err != nil {
		return nil
	}
	var groups []string
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 4 || f[2] == own || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if _, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			groups = append(groups, f[2])
		}
	}
	return groups
}
