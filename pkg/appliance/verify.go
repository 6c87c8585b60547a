package appliance

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/run"
)

const (
	maxKeyring   = 16 << 20
	gpgvPatience = time.Minute
)

// keyring returns the keys that may sign the list of a source.
func (s *Service) keyring(one Source) ([]byte, error) {
	places := []string{s.path(ownKeyring), s.path(upstreamKeyring)}
	if one.Keyring != "" {
		places = []string{one.Keyring}
	}
	for _, name := range places {
		keys, err := file.Read(name, maxKeyring)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			keys, err = dearmor(keys)
		}
		if err != nil {
			return nil, fmt.Errorf("keyring %s: %w", name, err)
		}
		return keys, nil
	}
	return nil, fmt.Errorf("there is no key to check the signature with: put the public key of %s into %s", one.Host, places[0])
}

// armor is how keys begin that are text.
const armor = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

// dearmor returns keys as gpgv wants them. Several blocks one after the other are all of
// them taken.
func dearmor(keys []byte) ([]byte, error) {
	text := strings.ReplaceAll(string(keys), "\r\n", "\n")
	if !strings.HasPrefix(strings.TrimSpace(text), armor) {
		return keys, nil
	}
	var all []byte
	for block := range strings.SplitSeq(text, armor) {
		if strings.TrimSpace(block) == "" {
			continue
		}
		_, body, ok := strings.Cut(block, "\n\n")
		body, _, ended := strings.Cut(body, "-----END")
		if sum := strings.LastIndex(body, "\n="); sum >= 0 { // the checksum of the block
			body = body[:sum]
		}
		packet, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
		if err != nil || !ok || !ended {
			return nil, errors.New("the text of the keys is damaged")
		}
		all = append(all, packet...)
	}
	return all, nil
}

// verify checks the signature of a list. gpgv's words go to said.
//
// gpgv gets all it reads through descriptors: there are no files that others could change
// meanwhile, or that a kill could leave.
func (s *Service) verify(ctx context.Context, list, signature, keys []byte, said func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, gpgvPatience, errors.New("no answer from gpgv"))
	defer cancel()
	sigFile, err := memory("signature", signature)
	if err != nil {
		return err
	}
	defer sigFile.Close()
	keyFile, err := memory("keys", keys)
	if err != nil {
		return err
	}
	defer keyFile.Close()
	var status, words bytes.Buffer
	err = s.Runner.Run(ctx, run.Cmd{
		Path:  "gpgv",
		Args:  []string{"--homedir", "/nonexistent", "--status-fd", "1", "--keyring", "/proc/self/fd/4", "/proc/self/fd/3", "-"},
		Stdin: bytes.NewReader(list), Stdout: &status, Stderr: &words,
		ExtraFiles: []*os.File{sigFile, keyFile}, ReadOnly: true,
	})
	for line := range strings.Lines(words.String()) {
		said(clean(line))
	}
	if e, ok := errors.AsType[*run.Error](err); ok && e.ExitCode <= 0 {
		return fmt.Errorf("unable to verify signature - %w", err) // it did not run, or not to its end
	}
	if err := judge(status.String()); err != nil {
		return fmt.Errorf("unable to verify signature - %w", err)
	}
	return nil
}

// judge reads what gpgv says for programs. Its exit code would not do: it lets keys pass that
// are expired or revoked, and fails where a list is signed with a second key, newer than our
// keyring. One good signature is enough, and a bad one too much.
func judge(status string) error {
	why, good, bad := "it is not understood", false, false
	for line := range strings.Lines(status) {
		words := strings.Fields(strings.TrimPrefix(line, "[GNUPG:] "))
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "GOODSIG":
			good = true
		case "BADSIG":
			why, bad = "what is signed is something else", true
		case "NO_PUBKEY":
			why = "its key is not in the keyring"
			if len(words) > 1 {
				why = "its key " + clean(words[1]) + " is not in the keyring"
			}
		case "EXPSIG":
			why = "it has expired"
		case "EXPKEYSIG":
			why = "its key has expired: put the renewed one into the keyring"
		case "REVKEYSIG":
			why = "its key was revoked"
		case "NODATA":
			why = "there is none"
		}
	}
	if bad || !good {
		return fmt.Errorf("%w: %s", ErrSignature, why)
	}
	return nil
}

// memory returns a file that is nowhere but in memory.
func memory(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for the %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(data, 0); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
