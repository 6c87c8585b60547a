package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
)

const (
	passwd = "/etc/passwd"
	shadow = "/etc/shadow"
)

// Password sets the password of a user to a hash; an empty one locks it.
func (t *Target) Password(user, hash string) error {
	if hash == "" {
		hash = "*"
	}
	if strings.ContainsAny(hash, ":\n\r\x00") {
		return errors.New("that is no hash of a password")
	}
	if !t.Exists(passwd) {
		return nil
	}
	if !t.Exists(shadow) {
		return t.fields(passwd, user, map[int]string{1: hash})
	}
	day := strconv.FormatInt(t.Env.Now().Unix()/int64(24*time.Hour/time.Second), 10)
	if err := t.fields(shadow, user, map[int]string{1: hash, 2: day}); err != nil {
		return err
	}
	return t.fields(passwd, user, map[int]string{1: "x"})
}

// fields sets fields of a user's line in passwd or shadow.
func (t *Target) fields(name, user string, set map[int]string) error {
	return t.Edit(name, func(text string) string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			fields := strings.Split(line, ":")
			if fields[0] == user {
				for n, value := range set {
					if n < len(fields)-1 {
						fields[n] = value
					}
				}
			}
			b.WriteString(strings.Join(fields, ":"))
		}
		return b.String()
	})
}

// home returns the home of a user as passwd has it.
func (t *Target) home(user string) (string, error) {
	text, _, err := t.Read(passwd)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if fields := strings.Split(line, ":"); fields[0] == user && len(fields) > 6 {
			return "/" + strings.Trim(fields[5], "/"), nil
		}
	}
	if user == "root" {
		return "/root", nil
	}
	return "/home/" + user, nil
}

// authorize lets those with the keys log in as a user.
func (t *Target) authorize(user, keys string) error {
	if keys = strings.TrimSpace(keys); keys == "" {
		return nil
	}
	home, err := t.home(user)
	if err != nil {
		return err
	}
	if !t.IsDir(home) {
		return fmt.Errorf("home directory '%s' of %s does not exist", home, user)
	}
	folder := strings.TrimSuffix(home, "/") + "/.ssh"
	if !t.IsDir(folder) {
		if err := t.Root.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	return t.managed(folder+"/authorized_keys", keys+"\n", Append, rootfs.Attr{Mode: new(fs.FileMode(0o600))})
}
