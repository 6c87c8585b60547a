// Command gendocs writes what is derived from the declarations and committed: manual
// pages and completion scripts. With -spec it writes what is declared as data.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cpuguy83/go-md2man/v2/md2man"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/app"
	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/cli/pct"
	"github.com/virtsmith/virtsmith/pkg/cli/pveam"
	"github.com/virtsmith/virtsmith/pkg/cli/pvesm"
	"github.com/virtsmith/virtsmith/pkg/cli/qm"
	"github.com/virtsmith/virtsmith/pkg/internal/coverage"
)

func main() {
	spec := flag.String("spec", "", "write api.json and cli.json into this folder instead")
	flag.Parse()
	files, err := derived()
	root := "."
	if *spec != "" {
		root = *spec
		files, err = coverage.Dump(methods(), tools())
	}
	if err == nil {
		err = write(root, files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tools lists the tools that have a manual page.
func tools() []cli.Tool { return []cli.Tool{pct.Tool(), pveam.Tool(), pvesm.Tool(), qm.Tool()} }

// methods returns all methods. Nothing is done with them, so the world they are in
// does not matter.
func methods() api.Registry { return app.New(app.Host{Root: os.DevNull, Node: "localhost"}).Methods() }

// derived returns what is to be committed, by path from the project root.
func derived() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, t := range tools() {
		files["man/"+t.Name+".1"] = page(t.Manual(methods()))
		for shell, name := range map[string]string{"bash": t.Name, "zsh": "_" + t.Name, "fish": t.Name + ".fish"} {
			var b bytes.Buffer
			if err := t.Script(&b, shell); err != nil {
				return nil, fmt.Errorf("completion of %s for %s: %w", t.Name, shell, err)
			}
			files["completions/"+shell+"/"+name] = b.Bytes()
		}
	}
	return files, nil
}

// page makes a manual page of Markdown.
func page(text string) []byte {
	roff := bytes.Replace(md2man.Render([]byte(text)), []byte(".nh\n"), []byte(".nh\n.ad l\n"), 1)
	var b bytes.Buffer
	literal := false
	for line := range bytes.Lines(roff) {
		switch {
		case bytes.HasPrefix(line, []byte(".EX")), bytes.HasPrefix(line, []byte(".EE")):
			literal = !literal
		case !literal && !bytes.HasPrefix(line, []byte(".")):
			line = breakable(line)
		}
		b.Write(line)
	}
	return b.Bytes()
}

// longWord is from where a word must be breakable, so that it fits any line.
const longWord = 30

// breakable lets long words, as lists of choices and patterns are, go on on the next
// line.
func breakable(line []byte) []byte {
	words := bytes.Split(line, []byte(" "))
	for i, word := range words {
		if len(word) < longWord {
			continue
		}
		var b bytes.Buffer
		for _, c := range word {
			b.WriteByte(c)
			if bytes.IndexByte([]byte("|,;)+"), c) >= 0 {
				b.WriteString(`\:`)
			}
		}
		words[i] = b.Bytes()
	}
	return bytes.Join(words, []byte(" "))
}

func write(root string, files map[string][]byte) error {
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
