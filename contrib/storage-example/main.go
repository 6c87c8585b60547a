// Command storage-example is a storage type of its own for virtsmith: it keeps raw images
// as plain files in folders, one for each, with a copy of the file for each snapshot. It
// shows how a program speaks the protocol of pkg/storage/outside/PROTOCOL.md, and imports
// nothing of virtsmith.
//
//	go build -o /usr/local/libexec/virtsmith/storage/example ./contrib/storage-example
//	pvesm add example mine --path /srv/mine
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A request is what virtsmith writes to our standard input.
type request struct {
	API     int    `json:"api"`
	Call    string `json:"call"`
	Storage struct {
		ID      string            `json:"id"`
		Options map[string]string `json:"options"`
		Secrets map[string]string `json:"secrets"`
	} `json:"storage"`
	Args struct {
		Name     string   `json:"name"`
		New      string   `json:"new"`
		Snapshot string   `json:"snapshot"`
		Size     int64    `json:"size"`
		Guest    int      `json:"guest"`
		Content  []string `json:"content"`
	} `json:"args"`
}

// A failure is an error with a word that virtsmith understands.
type failure struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return f.Message }

type object = map[string]any

func main() {
	var r request
	result, err := any(nil), json.NewDecoder(os.Stdin).Decode(&r)
	if err == nil {
		result, err = serve(r)
	}
	answer := object{"result": result}
	if err != nil {
		f := &failure{Message: err.Error()}
		_ = errors.As(err, &f)
		answer = object{"error": f}
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		os.Exit(1)
	}
}

func serve(r request) (any, error) {
	if r.API != 1 {
		return nil, fmt.Errorf("version %d of the protocol is unknown", r.API)
	}
	if r.Call == "describe" {
		return description(), nil
	}
	s := store(r.Storage.Options["path"])
	a := r.Args
	switch r.Call {
	case "activate":
		return nil, os.MkdirAll(string(s), 0o755)
	case "deactivate":
		return nil, nil
	case "status":
		return s.status()
	case "path":
		return object{"path": s.file(a.Name, a.Snapshot)}, nil
	case "list":
		return s.list(a.Guest, slices.Contains(a.Content, "images"))
	case "info":
		return s.info(a.Name)
	case "alloc":
		return nil, s.make(a.New, func(file string) error { return hole(file, a.Size) })
	case "free":
		return nil, s.free(a.Name)
	case "resize":
		return nil, s.change(a.Name, func() error { return os.Truncate(s.file(a.Name, ""), a.Size) })
	case "snapshot":
		return nil, s.change(a.Name, func() error { return replace(s.file(a.Name, ""), s.file(a.Name, a.Snapshot)) })
	case "deleteSnapshot":
		return nil, s.change(a.Name, func() error { return os.Remove(s.file(a.Name, a.Snapshot)) })
	case "canRollback":
		_, err := os.Stat(s.file(a.Name, a.Snapshot))
		return nil, told(err, "snapshot '"+a.Snapshot+"' does not exist")
	case "rollback":
		return nil, s.change(a.Name, func() error { return replace(s.file(a.Name, a.Snapshot), s.file(a.Name, "")) })
	case "snapshots":
		return s.snapshots(a.Name)
	case "clone":
		return nil, s.make(a.New, func(file string) error { return replace(s.file(a.Name, a.Snapshot), file) })
	case "base", "rename":
		return nil, s.rename(a.Name, a.New)
	}
	return nil, fmt.Errorf("call '%s' is unknown", r.Call)
}

func description() object {
	return object{
		"api": 1, "name": "example", "contents": []string{"images", "rootdir", "none"}, "default": []string{"images"}, "formats": []string{"raw"},
		"properties": object{
			"path":  object{"type": "string", "format": "pve-storage-path", "required": true, "fixed": true, "doc": "Folder in which the images lie."},
			"token": object{"type": "string", "secret": true, "doc": "Shows how secrets come here; nothing needs it."},
		},
		"abilities": []string{"resize", "snapshot", "clone", "rename"},
		"features": object{
			"copy": []string{"current", "base", "snap"}, "snapshot": []string{"current"}, "clone": []string{"base"},
			"template": []string{"current"}, "rename": []string{"current"}, "sparseinit": []string{"current"},
		},
	}
}

// A store is the folder. Each volume has a folder below it, named as it is, with the file
// disk, the file state-NAME for each snapshot, and for a linked clone the file base, which
// has the name of its base.
type store string

// folder is that of a volume. The name of a linked clone begins with that of its base.
func (s store) folder(name string) string {
	return filepath.Join(string(s), name[strings.LastIndex(name, "/")+1:])
}

func (s store) file(name, snapshot string) string {
	if snapshot != "" {
		return filepath.Join(s.folder(name), "state-"+snapshot)
	}
	return filepath.Join(s.folder(name), "disk")
}

// told gives errors of files the words that virtsmith understands.
func told(err error, missing string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &failure{"notExist", missing}
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTEMPTY):
		return &failure{"exists", "the name is taken"}
	}
	return err
}

func (s store) missing(name string) string { return "volume '" + name + "' does not exist" }

func (s store) status() (any, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(string(s), &st); err != nil {
		return nil, err
	}
	unit := int64(st.Bsize)
	return object{"total": int64(st.Blocks) * unit, "used": int64(st.Blocks-st.Bfree) * unit, "available": int64(st.Bavail) * unit}, nil
}

func (s store) list(guest int, images bool) (any, error) {
	entries, err := os.ReadDir(string(s))
	if err != nil {
		return nil, err
	}
	found := []any{}
	for _, e := range entries {
		parts := strings.SplitN(e.Name(), "-", 3)
		if len(parts) < 3 || !images || guest != 0 && parts[1] != strconv.Itoa(guest) {
			continue
		}
		name := e.Name()
		if base, err := os.ReadFile(filepath.Join(s.folder(name), "base")); err == nil {
			name = string(base) + "/" + name
		}
		if info, err := s.info(name); err == nil {
			found = append(found, info)
		}
	}
	return found, nil
}

func (s store) info(name string) (any, error) {
	st, err := os.Stat(s.file(name, ""))
	if err != nil {
		return nil, told(err, s.missing(name))
	}
	used := int64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		used = sys.Blocks * 512
	}
	return object{"name": name, "format": "raw", "size": st.Size(), "used": used, "created": st.ModTime().Unix()}, nil
}

// make makes a volume whose disk is filled by fill. It appears under its name at once or
// not at all, however we end: an ended call leaves a folder that begins with a dot, which
// is no volume.
func (s store) make(name string, fill func(file string) error) error {
	if _, err := os.Stat(s.folder(name)); err == nil {
		return told(fs.ErrExist, "")
	}
	folder, err := os.MkdirTemp(string(s), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // gone where all went well
	if err := os.Chmod(folder, 0o755); err != nil {
		return err
	}
	if base, _, linked := strings.Cut(name, "/"); linked {
		if err := os.WriteFile(filepath.Join(folder, "base"), []byte(base), 0o644); err != nil {
			return err
		}
	}
	if err := fill(filepath.Join(folder, "disk")); err != nil {
		return told(err, "there is nothing to copy")
	}
	return told(os.Rename(folder, s.folder(name)), s.missing(name))
}

func (s store) free(name string) error {
	// Away at once, and then what it holds.
	gone, err := os.MkdirTemp(string(s), ".gone-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(gone) //nolint:errcheck // no volume any more
	return told(os.Rename(s.folder(name), filepath.Join(gone, "it")), s.missing(name))
}

// change does something to a volume that is there.
func (s store) change(name string, fn func() error) error {
	if _, err := os.Stat(s.file(name, "")); err != nil {
		return told(err, s.missing(name))
	}
	return told(fn(), "the snapshot does not exist")
}

func (s store) snapshots(name string) (any, error) {
	entries, err := os.ReadDir(s.folder(name))
	if err != nil {
		return nil, told(err, s.missing(name))
	}
	type state struct {
		Name    string `json:"name"`
		ID      string `json:"id"`
		Created int64  `json:"created"`
		order   int64
	}
	found := []state{}
	for _, e := range entries {
		if snapshot, ok := strings.CutPrefix(e.Name(), "state-"); ok {
			if st, err := e.Info(); err == nil {
				found = append(found, state{snapshot, snapshot, st.ModTime().Unix(), st.ModTime().UnixNano()})
			}
		}
	}
	slices.SortFunc(found, func(a, b state) int { return int(a.order - b.order) })
	return found, nil
}

func (s store) rename(name, to string) error {
	if _, err := os.Stat(s.folder(to)); err == nil {
		return told(fs.ErrExist, "")
	}
	return told(os.Rename(s.folder(name), s.folder(to)), s.missing(name))
}

// hole makes a file of zeros.
func hole(file string, size int64) error {
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(file, size)
}
