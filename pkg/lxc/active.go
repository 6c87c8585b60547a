package lxc

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// longest is the longest name that LXC gives to a socket as it is: the 108 bytes that there are,
// without the zero before it and two that LXC leaves.
const longest = 105

// socketName is the name of the socket in the abstract namespace on which the monitor of
// a container takes commands. Where path and name are too long for one, LXC has their
// hash instead.
func socketName(lxcpath, name string) string {
	if plain := lxcpath + "/" + name + "/command"; len(plain) <= longest {
		return plain
	}
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, lxcpath+"/"+name)
	return fmt.Sprintf("lxc/%016x/command", hash.Sum64())
}

// Active lists the containers below lxcpath that run, by name, those that just start or stop
// included. It reads the list of the kernel's sockets, so it costs the same for one container
// and for a thousand; proc is /proc on a real machine.
func Active(proc, lxcpath string) (map[string]bool, error) {
	lxcpath = filepath.Clean(lxcpath)
	f, err := os.Open(filepath.Join(proc, "net/unix"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	active, hashed, err := readActive(f, lxcpath)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if len(hashed) > 0 {
		// A hash tells no name: those that have a folder are tried.
		entries, err := os.ReadDir(lxcpath)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if hashed[socketName(lxcpath, e.Name())] {
				active[e.Name()] = true
			}
		}
	}
	if proc == "/proc" {
		dropFaked(active, lxcpath)
	}
	return active, nil
}

// listening is among the flags of a socket that waits for callers; those of the callers'
// connections have its name as well, and outlive it.
const listening = "00010000"

// readActive finds the sockets of containers in the kernel's list.
func readActive(r io.Reader, lxcpath string) (active, hashed map[string]bool, err error) {
	active, hashed = map[string]bool{}, map[string]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// Num: RefCount Protocol Flags Type St Inode @name, which may have blanks.
		head, name, ok := strings.Cut(lines.Text(), " @")
		if !ok {
			continue
		}
		base, ok := strings.CutSuffix(name, "/command")
		if !ok {
			continue
		}
		if fields := strings.Fields(head); len(fields) != 7 || fields[3] != listening {
			continue
		}
		if rest, ok := strings.CutPrefix(base, lxcpath+"/"); ok && rest != "" && !strings.Contains(rest, "/") {
			active[rest] = true
		} else if hash, ok := strings.CutPrefix(base, "lxc/"); ok && len(hash) == 16 {
			hashed[name] = true
		}
	}
	return active, hashed, lines.Err()
}
