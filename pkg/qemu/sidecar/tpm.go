package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// TPM is the trusted platform module of a VM.
type TPM struct {
	State   string // absolute path of a raw file or block device
	Version string // v1.2 or v2.0
}

// startPatience is how long a program has until its socket is there.
const startPatience = 5 * time.Second

// setupConfig names the tool that signs the certificates of a new TPM.
const setupConfig = "/etc/swtpm_setup.conf"

// StartTPM starts the TPM of a VM and returns when QEMU can connect to it, at the socket
// that [process.Dir.TPM] names. A state that is new is filled first, which takes
// seconds.
func (h Host) StartTPM(ctx context.Context, vm id.VM, t TPM) error {
	socket := h.Dir.TPM(vm)
	if p := plan.From(ctx); p != nil {
		p.Stepf("start swtpm with %s", t.State)
		return nil
	}
	if err := os.MkdirAll(string(h.Dir), 0o755); err != nil {
		return err
	}
	if err := h.stop(ctx, socket); err != nil {
		return fmt.Errorf("TPM of VM %d: one of an earlier start is left: %w", vm, err)
	}
	if err := h.setUp(ctx, t); err != nil {
		return fmt.Errorf("set up TPM state %s: %w", t.State, err)
	}
	if err := h.Run.Run(ctx, run.Command("swtpm", t.args(vm, socket)...)); err != nil {
		return fmt.Errorf("start TPM of VM %d: %w", vm, h.because(err, socket))
	}
	ready := func() bool { return running(socket) != 0 && isSocket(socket) }
	if !await(ctx, startPatience, ready) {
		return errors.Join(died("swtpm", socket), context.Cause(ctx))
	}
	if err := h.join(ctx, running(socket)); err != nil {
		return errors.Join(err, h.stop(ctx, socket))
	}
	return nil
}

// because says what swtpm wrote to its log where it failed, which it does not write to
// its standard error.
func (h Host) because(err error, socket string) error {
	if said, read := os.ReadFile(logFile(socket)); read == nil && len(bytes.TrimSpace(said)) > 0 {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(said))
	}
	return err
}

func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}

// args are swtpm's arguments. It changes to the root directory, hence absolute paths.
func (t TPM) args(vm id.VM, socket string) []string {
	args := []string{
		"socket",
		"--tpmstate", "backend-uri=file://" + t.State + ",mode=0600",
		"--ctrl", "type=unixio,path=" + socket + ",mode=0600",
		"--pid", "file=" + pidFile(socket),
		"--terminate", // with QEMU's connection
		"--daemon",
		"--log", fmt.Sprintf("file=%s,level=1,prefix=[id=%d] ", logFile(socket), vm),
	}
	return append(args, t.family()...)
}

func (t TPM) family() []string {
	if t.Version == "v2.0" {
		return []string{"--tpm2"}
	}
	return nil
}

// setUp fills a new state: with keys, and with the certificates that say they are those
// of a TPM.
func (h Host) setUp(ctx context.Context, t TPM) error {
	isNew, err := isNewState(t.State)
	if err != nil || !isNew {
		return err
	}
	args := []string{
		"--tpmstate", "file://" + t.State, "--createek", "--create-ek-cert", "--create-platform-cert", "--lock-nvram",
		"--config", setupConfig, "--runas", "0", "--not-overwrite",
	}
	args = append(args, t.family()...)
	if t.Version == "v2.0" {
		args = append(args, "--ecc")
	}
	api.Printf(ctx, "setting up new TPM state %s\n", t.State)
	return h.Run.Run(ctx, run.Command("swtpm_setup", args...))
}

// stateMagic is what a state in a single file begins with.
const stateMagic = "nilmptws"

// isNewState tells whether no TPM has written to a state yet.
func isNewState(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len(stateMagic))
	_, err = io.ReadFull(f, head)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true, nil
	case err != nil:
		return false, err
	}
	return string(head) != stateMagic, nil
}
