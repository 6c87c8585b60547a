package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Sys is the folder where the kernel shows its devices: /sys on a real machine.
type Sys string

// line returns the content of a file of one line below dir, empty where it cannot be
// read: what the kernel does not know it does not show.
func line(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// linked returns the last part of where a link points to, empty where there is none.
func linked(dir, name string) string {
	to, err := os.Readlink(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// integer reads a decimal number, which is 0 where it cannot be read.
func integer(dir, name string) int {
	n, err := strconv.Atoi(line(dir, name))
	if err != nil {
		return 0
	}
	return n
}

func exists(elem ...string) bool {
	_, err := os.Stat(filepath.Join(elem...))
	return err == nil
}
