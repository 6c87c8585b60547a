// Package ovf reads the manifests of the Open Virtualization Format, versions 1 and 2, with
// which other hypervisors hand on virtual machines, and says what VM of ours they mean.
//
// A manifest comes from strangers: it is bounded in size, has no say about entities, and names
// only files beside it.
package ovf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Machine is the VM that a manifest describes. Its JSON is what qm importovf --dryrun prints.
type Machine struct {
	Options schema.Params     `json:"qm"`    // name, cores, memory, ostype, boot, bios, scsihw: what the manifest says of them
	Disks   []Disk            `json:"disks"` // in the order of the manifest
	Nets    map[string]Net    `json:"net,omitempty"`
	Notes   map[string]string `json:"warnings,omitempty"` // by option: what could not be taken over as it is
}

// A Disk is one drive of the VM.
type Disk struct {
	Address string `json:"disk_address"`           // scsi0
	File    string `json:"backing_file,omitempty"` // path of the image; empty for a disk that starts out blank
	Size    int64  `json:"virtual_size"`           // in bytes, as a guest sees it
}

// A Net is one network card.
type Net struct {
	Model   string `json:"model"`
	MAC     string `json:"macaddr,omitempty"`
	Network string `json:"network,omitempty"` // name of the network it was part of
}

// maxManifest bounds what is read of a manifest, in bytes.
const maxManifest = 8 << 20

// ErrNotRegular is returned where the manifest or an image is missing, or is no plain file.
var ErrNotRegular = errors.New("non-existent or non-regular file")

// Read reads the manifest at path. The images it names must be plain files in its folder or
// below; size tells how large each is to a guest.
func Read(ctx context.Context, path string, size func(ctx context.Context, image string) (int64, error)) (*Machine, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for i := range m.Disks {
		d := &m.Disks[i]
		if d.File == "" {
			continue
		}
		name, err := find(root, d.File)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, d.Address, err)
		}
		d.File = filepath.Join(folder, name)
		if d.Size, err = size(ctx, d.File); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, d.Address, err)
		}
	}
	return m, nil
}

// find returns the name below root of the file that href means, as it is or URL encoded.
func find(root *os.Root, href string) (string, error) {
	names := []string{href}
	if plain, err := url.PathUnescape(href); err == nil && plain != href {
		names = append(names, plain)
	}
	for _, name := range names {
		if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
			return "", fmt.Errorf("image %q is not beside the manifest", href)
		}
		info, err := root.Stat(name) // follows no link out of the folder
		switch {
		case err == nil && info.Mode().IsRegular():
			return name, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("image %q: %w", href, err)
		}
	}
	return "", fmt.Errorf("image %q: %w", href, ErrNotRegular)
}

// Parse reads a manifest. The File of a disk is what the manifest says: a name that nobody has
// checked yet; its Size is the capacity given there.
func Parse(r io.Reader) (*Machine, error) {
	e, err := readEnvelope(r)
	if err != nil {
		return nil, err
	}
	system, err := e.system()
	if err != nil {
		return nil, err
	}
	b := builder{envelope: e, items: e.wanted(system), m: &Machine{Options: schema.Params{}, Nets: map[string]Net{}, Notes: map[string]string{}}}
	b.general(system)
	if err := b.hardware(); err != nil {
		return nil, err
	}
	if err := b.disks(); err != nil {
		return nil, err
	}
	b.nets()
	return b.m, nil
}
