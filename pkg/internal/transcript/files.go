package transcript

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// create makes the file that c describes.
func (c Content) create(root, name string) error {
	path := filepath.Join(root, name)
	switch {
	case c.Text != nil:
		return os.WriteFile(path, []byte(strings.ReplaceAll(*c.Text, "${ROOT}", root)), 0o640)
	case c.Dir:
		return os.MkdirAll(path, 0o755)
	case c.Link != "":
		return os.Symlink(c.Link, path)
	case c.Zeros != nil:
		return errors.Join(os.WriteFile(path, nil, 0o640), os.Truncate(path, *c.Zeros))
	case c.Image != nil:
		return c.Image.create(root, path)
	}
	return fmt.Errorf("%s: a content of unknown kind", name)
}

func (i *Image) create(root, path string) error {
	if i.Format == "raw" {
		return errors.Join(os.WriteFile(path, nil, 0o640), os.Truncate(path, i.Size))
	}
	args := []string{"create", "-q", "-f", i.Format}
	if i.Backing != "" {
		args = append(args, "-u", "-b", strings.ReplaceAll(i.Backing, "${ROOT}", root), "-F", i.BackingFormat)
	}
	if err := qemuImg(append(args, path, fmt.Sprint(i.Size))...); err != nil {
		return err
	}
	for _, snap := range i.Snapshots {
		if err := qemuImg("snapshot", "-c", snap, path); err != nil {
			return err
		}
	}
	return nil
}

func qemuImg(args ...string) error {
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("qemu-img %v: %w: %s", args, err, out)
	}
	return nil
}

func setTimes(root string, mtime int64) error {
	when := time.Unix(mtime, 0)
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, when, when)
	})
}

// A file as scan finds it.
type entry struct {
	path string
	kind fs.FileMode
	sum  string // tells contents apart
	size int64
}

// ignored are the places that recordings do not look at.
var ignored = []string{"var/log/", "run/", "var/lib/lxc/", "var/lib/pve-manager/", "etc/pve/priv/lock/", "var/lock/", "var/cache/"}

// scan reads what is below root, by its path there.
func scan(t *testing.T, root string) map[string]entry {
	t.Helper()
	found := map[string]entry{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.IsDir() {
			name += "/"
		}
		for _, prefix := range ignored {
			if strings.HasPrefix(name, prefix) {
				return nil
			}
		}
		e, err := look(path, d)
		found[name] = e
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func look(path string, d fs.DirEntry) (entry, error) {
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	e := entry{path: path, kind: d.Type(), size: info.Size()}
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		e.sum, err = os.Readlink(path)
	case d.Type().IsRegular() && info.Size() <= 1<<20:
		var text []byte
		text, err = os.ReadFile(path)
		e.sum = fmt.Sprintf("%x", sha256.Sum256(text))
	case d.Type().IsRegular():
		e.sum = fmt.Sprint(info.Size(), info.ModTime())
	case d.IsDir():
		e.size = 0
	}
	return e, err
}

// imageInfo asks qemu-img what the image at path is.
func imageInfo(path, format string) (Image, error) {
	out, err := exec.Command("qemu-img", "info", "-U", "--output=json", "-f", format, path).Output()
	if err != nil {
		return Image{}, fmt.Errorf("qemu-img info %s: %w", path, err)
	}
	var info struct {
		Format        string
		Size          int64  `json:"virtual-size"`
		Backing       string `json:"backing-filename"`
		BackingFormat string `json:"backing-filename-format"`
		Snapshots     []struct{ Name string }
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return Image{}, err
	}
	i := Image{Format: info.Format, Size: info.Size, Backing: info.Backing, BackingFormat: info.BackingFormat}
	for _, s := range info.Snapshots {
		i.Snapshots = append(i.Snapshots, s.Name)
	}
	return i, nil
}
