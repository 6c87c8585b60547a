package lxc

import "strconv"

// An Attach says how to run a program inside a container that runs.
type Attach struct {
	Name, Path string
	// KeepEnv hands the environment down; else the program gets that of the container.
	KeepEnv bool
	Env     []string // KEY=value, set in any case
	// Args is the program with its arguments; none for the shell of root.
	Args []string
}

// Command is the command line that does so. Whoever runs it lets it take the place of its
// own process, so that terminal, signals and exit code are the program's.
func (a Attach) Command() []string {
	line := []string{"lxc-attach", "-n", a.Name, "-P", a.Path}
	if a.KeepEnv {
		line = append(line, "--keep-env")
	} else {
		line = append(line, "--clear-env")
	}
	for _, pair := range a.Env {
		line = append(line, "--set-var", pair)
	}
	if len(a.Args) > 0 {
		line = append(append(line, "--"), a.Args...)
	}
	return line
}

// A Console says which terminal of a container to show.
type Console struct {
	Name, Path string
	TTY        int // 0: /dev/console; -1: the next terminal that is free
	// Escape is the key that begins the sequence to leave, such as ^a; empty for none.
	Escape string
}

// Command is the command line that shows it.
func (c Console) Command() []string {
	escape := c.Escape
	if escape == "" {
		escape = "-1"
	}
	line := []string{"lxc-console", "-n", c.Name, "-P", c.Path}
	if c.TTY >= 0 { // lxc-console has no number for the next one
		line = append(line, "-t", strconv.Itoa(c.TTY))
	}
	return append(line, "-e", escape)
}
