package power

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// Monitor lets a user talk to the monitor of a VM, line by line, until the input ends or
// says quit. prompts is where it asks for the next line.
func (s *Service) Monitor(ctx context.Context, vmid id.VM, in io.Reader, out, prompts, faults io.Writer) error {
	if in == nil {
		in = bytes.NewReader(nil)
	}
	fmt.Fprintf(out, "Entering QEMU Monitor for VM %d - type 'help' for help\n", vmid)
	lines := bufio.NewScanner(in)
	for {
		fmt.Fprint(prompts, "qm> ")
		if !scan(ctx, lines) {
			return errors.Join(lines.Err(), context.Cause(ctx))
		}
		line := strings.TrimSpace(lines.Text())
		switch line {
		case "":
			continue
		case "q", "quit": // of this program; QEMU itself is ended by qm stop
			return nil
		}
		said, err := s.HMP(ctx, vmid, line)
		if err != nil {
			fmt.Fprintf(faults, "ERROR: %v\n", err)
		}
		fmt.Fprint(out, said)
	}
}

// scan reads a line, unless ctx ends first. A reader that still waits for one then does
// so until the process ends.
func scan(ctx context.Context, lines *bufio.Scanner) bool {
	got := make(chan bool, 1)
	go func() { got <- lines.Scan() }()
	select {
	case ok := <-got:
		return ok
	case <-ctx.Done():
		return false
	}
}

// Escape reads how the key is written that leaves a terminal: ^O, a single character, or
// none, whose name is empty.
func Escape(text string) (key byte, name string, err error) {
	switch {
	case text == "none":
		return 0, "", nil
	case len(text) == 2 && text[0] == '^' && text[1] >= '@' && text[1] <= 'z':
		return text[1] & 0x1f, "Ctrl+" + strings.ToUpper(text[1:]), nil
	case len(text) == 1:
		return text[0], text, nil
	}
	return 0, "", fmt.Errorf("escape '%s' is neither ^X, nor a single character, nor none", text)
}

// SerialPort finds the serial port of a VM that a terminal can use: the named one, or
// the first.
func SerialPort(values map[string]string, wanted string) (string, error) {
	switch {
	case wanted == "":
	case values[wanted] == "":
		return "", fmt.Errorf("serial interface '%s' is not configured", wanted)
	case values[wanted] != "socket":
		return "", fmt.Errorf("serial interface '%s' is '%s', not a socket", wanted, values[wanted])
	default:
		return wanted, nil
	}
	for n := range 4 {
		if name := "serial" + strconv.Itoa(n); values[name] == "socket" {
			return name, nil
		}
	}
	return "", errors.New("unable to find a serial interface")
}

// Terminal connects a user to a serial port of a VM until the escape key is pressed, the
// input ends, or the VM does.
func (s *Service) Terminal(ctx context.Context, vmid id.VM, port, escape string, in io.Reader, out io.Writer) error {
	key, name, err := Escape(escape)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimPrefix(port, "serial"))
	if err != nil {
		return fmt.Errorf("'%s' is no serial port", port)
	}
	conn, err := dial(ctx, s.Dir.Serial(vmid, n))
	if err != nil {
		return err
	}
	defer conn.Close()
	hint := ""
	if name != "" {
		hint = fmt.Sprintf(" (press %s to exit)", name)
	}
	fmt.Fprintf(out, "starting serial terminal on interface %s%s\n", port, hint)
	if f, ok := in.(*os.File); ok && term.IsTerminal(f) {
		restore, err := term.Raw(f)
		if err != nil {
			return err
		}
		defer restore()
	}
	return bridge(ctx, conn, &until{r: in, key: key, none: name == ""}, out)
}

func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// until is a reader that ends at a key.
type until struct {
	r    io.Reader
	key  byte
	none bool // no key ends it
}

func (u *until) Read(p []byte) (int, error) {
	if u.r == nil {
		return 0, io.EOF
	}
	n, err := u.r.Read(p)
	if u.none {
		return n, err
	}
	if i := bytes.IndexByte(p[:n], u.key); i >= 0 {
		u.r = nil
		return i, io.EOF
	}
	return n, err
}

// bridge joins a connection with an input and an output until one of them ends.
func bridge(ctx context.Context, conn *net.UnixConn, in io.Reader, out io.Writer) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	if in == nil {
		in = bytes.NewReader(nil)
	}
	ended := make(chan error, 2)
	go func() { // waits for input until the process ends, when the other side is first
		_, err := io.Copy(conn, in)
		ended <- err
	}()
	go func() {
		_, err := io.Copy(out, conn)
		ended <- err
	}()
	err := <-ended
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// ticketPatience is how many seconds a VNC password is good for.
const ticketPatience = "+30"

// VNC joins the VNC server of a VM with an input and an output. The ticket becomes its
// password for a moment.
func (s *Service) VNC(ctx context.Context, vmid id.VM, ticket string, in io.Reader, out io.Writer) error {
	if ticket == "" {
		return errors.New("LC_PVE_TICKET not set, VNC proxy without password is forbidden") //nolint:staticcheck // upstream's text
	}
	if err := s.Call(ctx, vmid, "set_password", map[string]any{"protocol": "vnc", "password": ticket}, nil); err != nil {
		return err
	}
	if err := s.Call(ctx, vmid, "expire_password", map[string]any{"protocol": "vnc", "time": ticketPatience}, nil); err != nil {
		return err
	}
	conn, err := dial(ctx, s.Dir.VNC(vmid))
	if err != nil {
		return err
	}
	return bridge(ctx, conn, in, out)
}
