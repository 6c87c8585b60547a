package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// keyKinds are the host keys that a container gets.
var keyKinds = [...]string{"rsa", "ecdsa", "ed25519"}

var (
	hostKey     = pattern.New(`^ssh_host_.*_key(\.pub)?$`)
	fingerprint = pattern.New(`(?m)^SHA256:[0-9A-Za-z+/]{43} .*$`)
)

type keyPair struct {
	name            string
	private, public []byte
	id              string
	err             error
}

// hostKeys gives sshd of the container keys of its own: those of the template are known to
// everybody who has it. They are made by the host's ssh-keygen in a folder of the host.
func (t *Target) hostKeys(ctx context.Context) error {
	const folder = "/etc/ssh"
	if !t.IsDir(folder) {
		return nil
	}
	pairs, err := t.makeKeys(ctx)
	if errors.Is(err, exec.ErrNotFound) {
		t.Env.Warnf("no SSH host keys were created, ssh-keygen is missing on this node: run 'ssh-keygen -A' in the container")
	} else if err != nil {
		return err
	}
	names, err := t.Root.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if hostKey.MatchString(name) {
			if err := t.Remove(folder + "/" + name); err != nil {
				return err
			}
		}
	}
	for _, p := range pairs {
		if err := t.WriteMode(folder+"/"+p.name, string(p.private), 0o600); err != nil {
			return err
		}
		if err := t.WriteMode(folder+"/"+p.name+".pub", string(p.public), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeKeys makes the keys side by side: one for RSA takes its time.
func (t *Target) makeKeys(ctx context.Context) ([]keyPair, error) {
	if err := os.MkdirAll(t.Env.TempDir, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(t.Env.TempDir, ".hostkeys-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var pairs [len(keyKinds)]keyPair
	var wg sync.WaitGroup
	for i, kind := range keyKinds {
		name := "ssh_host_" + kind + "_key"
		t.Env.Printf("Creating SSH host key '%s' - this may take some time ...", name)
		wg.Go(func() { pairs[i] = t.makeKey(ctx, kind, name, filepath.Join(dir, name)) })
	}
	wg.Wait()
	for _, p := range pairs {
		if p.err != nil {
			return nil, p.err
		}
		t.Env.Printf("done: %s", p.id)
	}
	return pairs[:], nil
}

func (t *Target) makeKey(ctx context.Context, kind, name, file string) keyPair {
	p := keyPair{name: name}
	var out bytes.Buffer
	cmd := run.Command("ssh-keygen", "-f", file, "-t", kind, "-N", "", "-E", "sha256", "-C", "root@"+t.ShortHostname())
	cmd.Stdout = &out
	if p.err = t.Env.Runner.Run(ctx, cmd); p.err != nil {
		return p
	}
	p.id = strings.TrimSpace(fingerprint.FindString(out.String()))
	if p.private, p.err = os.ReadFile(file); p.err != nil {
		return p
	}
	p.public, p.err = os.ReadFile(file + ".pub")
	if p.err != nil {
		p.err = fmt.Errorf("read the new key: %w", p.err)
	}
	return p
}
