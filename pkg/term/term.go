// Package term writes to people: results as tables, JSON or YAML in the layout that
// scripts know, progress as a bar where there is a terminal and as lines where there is
// none. It also asks about terminals and switches them to raw mode.
//
// It knows no schema: who calls it says which columns there are.
package term

import (
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal tells whether what is written to w, or read from it, is a terminal.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Size returns the columns and rows of a terminal, and false when w is none.
func Size(w any) (columns, rows int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, 0, false
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	return columns, rows, err == nil && columns > 0
}

// Raw switches a terminal to raw mode: each key comes at once, none has a meaning. The
// returned function switches back; it may be called more than once.
func Raw(f *os.File) (restore func(), err error) {
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }, nil
}

// ReadPassword prints a prompt and reads a line without echo.
func ReadPassword(f *os.File, prompts io.Writer, prompt string) (string, error) {
	if _, err := io.WriteString(prompts, prompt); err != nil {
		return "", err
	}
	b, err := term.ReadPassword(int(f.Fd()))
	_, _ = io.WriteString(prompts, "\n")
	return string(b), err
}
