package pct

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestConsole talks to a container through each kind of terminal.
func TestConsole(t *testing.T) {
	n := newNode(t)
	for name, x := range map[string]struct {
		word, mode string
		args       []string
		leave      string
	}{
		"enter":   {"enter", "tty", nil, "exit 3\n"},
		"shell":   {"console", "shell", nil, "exit 3\n"},
		"console": {"console", "console", nil, "\x01q"},
		"tty":     {"console", "tty", []string{"--escape", "^b"}, "\x02q"},
	} {
		t.Run(name, func(t *testing.T) {
			c := (&testNode{t, n.root, n.pct}).container("", "", "cmode: "+x.mode)
			n.write(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol/sbin/getty", c.id), "#!/bin/sh\nexec /bin/getty -n -l /bin/sh 38400 tty1\n")
			c.run("start")
			cmd := c.command(append([]string{x.word, strconv.Itoa(c.id)}, x.args...)...)
			terminal, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			said := make(chan string)
			go func() {
				var all bytes.Buffer
				buf := make([]byte, 4096)
				for {
					k, err := terminal.Read(buf)
					all.Write(buf[:k])
					said <- all.String()
					if err != nil {
						close(said)
						return
					}
				}
			}()
			// A login may not be there yet: it is asked until it answers.
			ask := time.NewTicker(500 * time.Millisecond)
			defer ask.Stop()
			late := time.After(time.Minute)
			for text := ""; !strings.Contains(text, "it is 42"); {
				select {
				case more, ok := <-said:
					if text = more; !ok {
						t.Fatalf("it has ended: %q", text)
					}
				case <-ask.C:
					io.WriteString(terminal, "\necho it is $((6*7))\n")
				case <-late:
					t.Fatalf("it says %q", text)
				}
			}
			io.WriteString(terminal, x.leave)
			go func() {
				for range said {
				}
			}()
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case err = <-ended:
			case <-time.After(time.Minute):
				_ = cmd.Process.Kill()
				t.Fatal("it does not leave")
			}
			if strings.HasPrefix(x.leave, "exit") {
				if cmd.ProcessState.ExitCode() != 3 {
					t.Errorf("left with %v", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			c.run("stop")
			c.nothing()
		})
	}
}
