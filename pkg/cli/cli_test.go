package cli

import (
	"bufio"
	"bytes"
	"flag"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestComplete(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       string
	}{
		{"commands", "", "config create destroy exec help list part passwd set sleep status"},
		{"beginning", "s", "set sleep status"},
		{"nested", "part ", "mend move"},
		{"other names", "mov", "move_part"},
		{"through a beginning", "conf ", "100 101"},
		{"a live value", "config 10", "100 101"},
		{"an enumeration by position", "part move 100 ", "arm leg"},
		{"through another name", "move_part 100 a", "arm"},
		{"what comes of what is given", "part move 100 arm ", "local tank-100"},
		{"options", "create 100 --n", "--name --net0 --numa"},
		{"one dash", "create 100 -me", "-memory"},
		{"not twice", "create 100 --memory 64 --me", ""},
		{"next of a family", "create 100 --net0 virtio --ne", "--net1"},
		{"any of a family", "create 100 --net0 virtio --net", "--net1"},
		{"with a digit", "create 100 --net2", "--net2"},
		{"a value", "create 100 --ostype ", "l26 other"},
		{"a value of a beginning", "create 100 --os l", "l26"},
		{"an attached value", "create 100 --ostype=l", "--ostype=l26"},
		{"a value from elsewhere", "create 100 --storage t", "tank-100"},
		{"a property string", "create 100 --net0 v", "virtio"},
		{"its keys", "create 100 --net0 virtio,", "virtio,bridge= virtio,firewall="},
		{"a key's value", "create 100 --net0 virtio,bridge=vmbr1", "virtio,bridge=vmbr1"},
		{"output", "list --out", "--output-format"},
		{"output formats", "list --output-format j", "json json-pretty"},
		{"rehearsal", "create 100 --dr", "--dry-run"},
		{"none for what only reads", "list --dr", ""},
		{"help", "help par", "part"},
		{"help of a group", "help part ", "mend move"},
		{"after the options", "create -- ", "100 101"},
		{"unknown", "bogus ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			words := strings.Split(c.line, " ")
			r := newRunner(toyTool(), toyWorld())
			list, _ := r.complete(t.Context(), words[:len(words)-1], words[len(words)-1])
			var got []string
			for _, word := range list {
				got = append(got, word.Text)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLostOutput: whoever asks is told that the answer could not be written; a change
// has happened all the same.
func TestLostOutput(t *testing.T) {
	for _, c := range []struct {
		line string
		want int
	}{
		{"list", exitFailure},
		{"status 100", exitFailure},
		{"help", exitFailure},
		{"help list", exitFailure},
		{"--help", exitFailure},
		{"create 100 --dry-run", exitFailure},
		{"create 100", exitOK},
	} {
		t.Run(c.line, func(t *testing.T) {
			var errs bytes.Buffer
			w := toyWorld()
			w.Args, w.Out, w.Err = strings.Fields(c.line), fullDisk{}, &errs
			if got := Run(t.Context(), toyTool(), w); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
			if told := strings.Count(errs.String(), "no space left"); told != c.want/exitFailure {
				t.Errorf("told: %q", errs.String())
			}
		})
	}
}

// TestEndlessInput gives values that have no end.
func TestEndlessInput(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"create 100 --sshkeys /dev/zero", "file is too large"},
		{"passwd 100", "password is longer than"},
	} {
		t.Run(c.line, func(t *testing.T) {
			zero, err := os.Open("/dev/zero")
			if err != nil {
				t.Skipf("nothing without an end here: %v", err)
			}
			defer zero.Close()
			var errs bytes.Buffer
			w := toyWorld()
			w.Args, w.In, w.Err = strings.Fields(c.line), zero, &errs
			if got := Run(t.Context(), toyTool(), w); got != exitFailure || !strings.Contains(errs.String(), c.want) {
				t.Errorf("exit code %d: %q", got, errs.String())
			}
		})
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestSignalStopsCommand(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			toy, err := exec.LookPath("toy")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), toy, "sleep")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Error(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait()
			want := "toy sleep: " + sig.String() + " signal received\n"
			if code := cmd.ProcessState.ExitCode(); code != exitFailure || errs.String() != want {
				t.Errorf("exit %d, %q, want %q", code, errs.String(), want)
			}
		})
	}
}

func TestSingle(t *testing.T) {
	single := toyTool().Commands["create"]
	tool := Tool{Name: "maketoy", Doc: "Make a toy.", Single: &single}
	for _, c := range []struct {
		name, line string
		code       int
		out, errs  string
	}{
		{"runs", "100 --memory 64", 0, "made toy 100 on here\nfollowed UPID:100\n", ""},
		{"a fault", "100 101", 255, "", "400 too many arguments\nmaketoy <id> [OPTIONS]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			w := toyWorld()
			w.Args, w.Out, w.Err = strings.Fields(c.line), &out, &errs
			if code := Run(t.Context(), tool, w); code != c.code {
				t.Errorf("exit %d", code)
			}
			if diff := cmp.Diff(c.out, out.String()) + cmp.Diff(c.errs, errs.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, line := range []string{"help", "--help"} {
		var out bytes.Buffer
		w := toyWorld()
		w.Args, w.Out = []string{line}, &out
		if Run(t.Context(), tool, w) != 0 || !strings.HasPrefix(out.String(), "USAGE: maketoy <id> [OPTIONS]\n") {
			t.Errorf("%s: %s", line, out.String())
		}
	}
}

func TestCallerIsLazy(t *testing.T) {
	for _, args := range [][]string{{}, {"bogus"}, {"create"}, {"create", "100", "--cores"}, {"help"}, {"list", "--output-format", "xml"}} {
		w := toyWorld()
		w.Args, w.Out, w.Err, w.Caller = args, new(bytes.Buffer), new(bytes.Buffer), nil
		Run(t.Context(), toyTool(), w)
	}
}

// FuzzParse: whatever the words, each parameter comes out once, nothing panics, and
// what was understood can be said in canonical words and is understood the same.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"100 -memory 512", "--mem 512 100", "--onboot 100", "--onboot 1 100", "--onboot=0 100", "-- 100", "100 --net0 virtio,bridge=vmbr0",
		"--name= 100", "-=x", "--=", "---", "-", "--n x", "100 101",
	} {
		f.Add(line)
	}
	r := newRunner(toyTool(), toyWorld())
	c, err := r.command([]string{"toy", "create"}, toyTool().Commands["create"])
	if err != nil {
		f.Fatal(err)
	}
	s := c.syntax()
	f.Fuzz(func(t *testing.T, line string) {
		p, extra, err := s.parse(strings.Split(line, " "), new(bytes.Buffer))
		if err != nil {
			return
		}
		words := []string{}
		for name, text := range p {
			if name != "id" && name != "node" {
				words = append(words, "--"+name, text)
			}
		}
		for name, text := range extra {
			words = append(words, "--"+name, text)
		}
		again, extraAgain, err := s.parse(append(words, "--", p["id"]), new(bytes.Buffer))
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		if diff := cmp.Diff(p, again) + cmp.Diff(extra, extraAgain); diff != "" {
			t.Error(diff)
		}
	})
}
