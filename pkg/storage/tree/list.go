package tree

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// List returns the volumes that the filter lets through.
func (t *Tree) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	var found, images []storage.Volume
	for _, c := range f.Content {
		if c != storage.Images && c != storage.Rootdir {
			if list, err := t.listFiles(c, f.Guest); err != nil {
				return nil, err
			} else {
				found = append(found, list...)
			}
			continue
		}
		if images == nil {
			list, err := t.listImages(ctx, f.Guest)
			if err != nil {
				return nil, err
			}
			images = append(make([]storage.Volume, 0, len(list)), list...)
		}
		for _, v := range images {
			if v.Content == c {
				found = append(found, v)
			}
		}
	}
	return found, nil
}

// listImages lists the images of one guest, or of all.
func (t *Tree) listImages(ctx context.Context, guest id.VM) ([]storage.Volume, error) {
	kinds, err := t.Guests(ctx)
	if err != nil {
		return nil, err
	}
	var found []storage.Volume
	err = t.eachImage(guest, func(n storage.Name, path string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v, ok := t.look(ctx, n, path)
		if ok && kinds[v.Guest] == "lxc" {
			v.Content = storage.Rootdir
		}
		if ok {
			found = append(found, v)
		}
		return nil
	})
	slices.SortFunc(found, func(a, b storage.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return found, err
}

// eachImage calls do for every file that is named as an image is. A folder that is
// not there holds none.
func (t *Tree) eachImage(guest id.VM, do func(n storage.Name, path string) error) error {
	return t.eachFile(guest, func(folder, path string) error {
		n, err := parseImage(filepath.Base(path), folder)
		if err != nil {
			return nil //nolint:nilerr // it is none
		}
		return do(n, path)
	})
}

// eachFile calls do for every file in the folders of guests.
func (t *Tree) eachFile(guest id.VM, do func(folder, path string) error) error {
	top, err := t.Subdir(storage.Images)
	if err != nil {
		return err
	}
	var folders []string
	if guest != 0 {
		folders = []string{guest.String()}
	} else if folders, err = names(top); err != nil {
		return err
	}
	for _, folder := range folders {
		if strings.Trim(folder, "0123456789") != "" {
			continue
		}
		files, err := names(filepath.Join(top, folder))
		if err != nil {
			return err
		}
		for _, name := range files {
			if err := do(folder, filepath.Join(top, folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// names lists what is in a folder, sorted.
func names(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		// A file where a folder is looked for is none of ours.
		if info, e := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || e == nil && !info.IsDir() {
			return nil, nil
		}
		return nil, err
	}
	found := make([]string, len(list))
	for i, e := range list {
		found[i] = e.Name()
	}
	return found, nil
}

// backing is how a linked clone names its base.
var backing = pattern.New(`^\.\./(\d+)/((?:base|vm)-\d+-[^/\s]+\.(?:raw|qcow2|vmdk))$`)

// look describes an image. What cannot be read has no size: it is listed, so that it
// can be found and removed.
func (t *Tree) look(ctx context.Context, n storage.Name, path string) (storage.Volume, bool) {
	st, err := os.Stat(path)
	if err != nil || st.IsDir() != (n.Format == "subvol") {
		return storage.Volume{}, false
	}
	info := storage.Info{Format: n.Format}
	// Nothing is in it yet: its name is taken for an image that is being made.
	if st.Size() > 0 {
		if i, err := storage.ImageInfo(ctx, t.Env, path, n.Format); err == nil {
			info = i
		}
	}
	n = withBase(n, t.lowest(ctx, n, path, info.Parent))
	return storage.Volume{
		Name: imageVolume(n), Content: storage.Images, Format: n.Format, Guest: n.Guest,
		Size: info.Size, Used: info.Used, Parent: info.Parent, Created: st.ModTime(),
	}, true
}

// withBase completes the name of a linked clone.
func withBase(n storage.Name, parent string) storage.Name {
	if m := backing.FindStringSubmatch(parent); m != nil {
		n.BaseGuest, n.Base = vmid(m[1]), m[2]
	}
	return n
}

// listFiles lists the files in the folder of a content.
func (t *Tree) listFiles(c storage.Content, guest id.VM) ([]storage.Volume, error) {
	if guest != 0 && c != storage.Backups {
		return nil, nil
	}
	dir, err := t.Subdir(c)
	if err != nil {
		return nil, nil // none
	}
	files, err := names(dir)
	if err != nil {
		return nil, err
	}
	var found []storage.Volume
	for _, name := range files {
		n, ok := parseFile(c, name)
		st, err := os.Stat(filepath.Join(dir, name))
		if !ok || err != nil || st.IsDir() || guest != 0 && !strings.Contains(name, "-"+guest.String()+"-") {
			continue
		}
		v := storage.Volume{
			Name: string(c) + "/" + name, Content: c, Guest: n.Guest, Format: formatOf(c, n),
			Size: st.Size(), Created: st.ModTime(),
		}
		if c == storage.Backups {
			t.backup(&v, dir, n)
		}
		found = append(found, v)
	}
	return found, nil
}

// formatOf says what lists show as the format of a file.
func formatOf(c storage.Content, n storage.Name) string {
	switch c {
	case storage.ISO:
		return "iso"
	case storage.Snippets:
		return "snippet"
	case storage.Templates:
		if m := templateFile.FindStringSubmatch(n.File); m[1] != "" {
			return "t" + strings.ToLower(m[1])
		}
		return "tar"
	case storage.Backups:
		return backupFile.FindStringSubmatch(n.File)[1]
	}
	return n.Format
}

// backup adds what is known of a backup.
func (t *Tree) backup(v *storage.Volume, dir string, n storage.Name) {
	if a, err := storage.ParseArchive(n.File, t.zone()); err == nil && a.Type != "unknown" {
		if v.Subtype = a.Type; v.Subtype == "openvz" {
			v.Subtype = "lxc"
		}
		if a.Standard {
			v.Created = a.Created
		}
	}
	path := filepath.Join(dir, n.File)
	v.Protected = file.Exists(protection(path))
	if f, err := os.Open(notes(path)); err == nil {
		defer f.Close() //nolint:errcheck // only read
		head, _ := io.ReadAll(io.LimitReader(f, 4096))
		v.Notes, _, _ = strings.Cut(string(head), "\n")
	}
}

func (t *Tree) zone() *time.Location {
	if t.Zone == nil {
		return time.UTC
	}
	return t.Zone
}

// Locate returns the volume that lies at a path.
func (t *Tree) Locate(ctx context.Context, path string) (storage.Content, string) {
	within := func(c storage.Content) bool { return t.inside(path, c) }
	if !slices.ContainsFunc(storage.AllContents(), within) || t.Answers(ctx) != nil {
		return "", ""
	}
	st, err := os.Stat(path)
	if err != nil || st.IsDir() && !strings.HasSuffix(path, ".subvol") && !t.inside(path, storage.Rootdir) {
		return "", ""
	}
	for _, c := range storage.AllContents() {
		if !t.inside(path, c) {
			continue
		}
		dir, _ := t.Subdir(c)
		rest := strings.TrimPrefix(path, dir+"/")
		switch c {
		case storage.Images:
			folder, name, ok := strings.Cut(rest, "/")
			n, err := parseImage(name, folder)
			if ok && err == nil && strings.Trim(folder, "0123456789") == "" {
				if v, ok := t.look(ctx, n, path); ok {
					return c, v.Name
				}
			}
		case storage.Rootdir:
			if vmid(rest) != 0 {
				return c, "rootdir/" + rest
			}
		default:
			if _, ok := parseFile(c, rest); ok && !strings.Contains(rest, "/") {
				return c, string(c) + "/" + rest
			}
		}
	}
	return "", ""
}

func (t *Tree) inside(path string, c storage.Content) bool {
	dir, err := t.Subdir(c)
	return err == nil && strings.HasPrefix(path, dir+"/")
}
