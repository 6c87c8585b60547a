package account

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
)

// ErrSSHKey is the error of a line that is no public key.
var ErrSSHKey = errors.New("SSH public key validation error")

// CheckSSHKeys checks public keys, one a line, as far as their form goes. Nobody could
// log in with one that is broken, and sshd does not say so.
func CheckSSHKeys(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && !isSSHKey(line) {
			return ErrSSHKey
		}
	}
	return nil
}

// isSSHKey tells whether a line has the form of authorized_keys in sshd(8): a key's
// type is named beside the key and inside of it.
func isSSHKey(line string) bool {
	fields := strings.Fields(line)
	for i, kind := range fields[:len(fields)-1] {
		raw, err := base64.StdEncoding.DecodeString(fields[i+1])
		if err != nil || len(raw) < 4 {
			continue
		}
		size := binary.BigEndian.Uint32(raw)
		if uint64(len(raw)) >= 4+uint64(size) && string(raw[4:4+size]) == kind {
			return true
		}
	}
	return false
}
