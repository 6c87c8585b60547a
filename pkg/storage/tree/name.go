package tree

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// How volumes are named. The part in the last brackets of files is what their list
// shows as format.
var (
	imageName    = regexp.MustCompile(`^((base-)?[^/\s]+\.(raw|qcow2|vmdk|subvol))$`)
	snapFile     = regexp.MustCompile(`^snap-[^/\s]*\.qcow2$`)
	linkedName   = regexp.MustCompile(`^(\d+)/(\S+)/(\d+)/(\S+)$`)
	plainName    = regexp.MustCompile(`^(\d+)/(\S+)$`)
	rootdirName  = regexp.MustCompile(`^rootdir/(\d+)$`)
	isoFile      = regexp.MustCompile(`^[^/]+\.(?i:iso|img)$`)
	templateFile = regexp.MustCompile(`^[^/]+\.(?i:tar|tar\.(gz|xz|zst|bz2))$`)
	backupFile   = regexp.MustCompile(`^[^/]+\.(tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)$`)
	snippetFile  = regexp.MustCompile(`^[^/]+$`)
	importFile   = regexp.MustCompile(`^[ a-zA-Z0-9\-.+=_]+\.(ova|ovf|qcow2|raw|vmdk)$`)
	ovaMember    = regexp.MustCompile(`^([ a-zA-Z0-9\-.+=_]+\.ova)/([ a-zA-Z0-9\-.+=_]+\.(qcow2|raw|vmdk))$`)
	backupOwner  = regexp.MustCompile(`^vzdump-(openvz|lxc|qemu)-([1-9][0-9]{2,8})-.+`)
)

// Parse reads a volume's name.
func (t *Tree) Parse(name string) (storage.Name, error) { return Parse(name) }

// Parse reads the name of a volume that is a file.
func Parse(name string) (storage.Name, error) {
	if m := linkedName.FindStringSubmatch(name); m != nil {
		if _, err := parseImage(m[2], m[1]); err != nil {
			return storage.Name{}, err
		}
		n, err := parseImage(m[4], m[3])
		n.Base, n.BaseGuest = m[2], vmid(m[1])
		return n, err
	}
	if m := plainName.FindStringSubmatch(name); m != nil {
		return parseImage(m[2], m[1])
	}
	if m := rootdirName.FindStringSubmatch(name); m != nil {
		return storage.Name{Content: storage.Rootdir, File: m[1], Guest: vmid(m[1])}, nil
	}
	for _, c := range storage.AllContents() {
		prefix := string(c) + "/"
		if len(name) > len(prefix) && name[:len(prefix)] == prefix {
			if n, ok := parseFile(c, name[len(prefix):]); ok {
				return n, nil
			}
		}
	}
	return storage.Name{}, fmt.Errorf("unable to parse directory volume name '%s'", name)
}

func parseImage(file, guest string) (storage.Name, error) {
	if snapFile.MatchString(file) {
		return storage.Name{}, fmt.Errorf("'%s' is a snapshot filename, not a volume!", file) //nolint:staticcheck // upstream's words
	}
	m := imageName.FindStringSubmatch(file)
	if strings.HasPrefix(file, nextPrefix) {
		m = nil // it is about to take the place of a volume, see [Tree.settle]
	}
	// A number with zeros before it would be a second name for the same image.
	if m == nil || vmid(guest).String() != guest {
		return storage.Name{}, fmt.Errorf("unable to parse volume filename '%s'", file)
	}
	return storage.Name{Content: storage.Images, File: file, Guest: vmid(guest), IsBase: m[2] != "", Format: m[3]}, nil
}

// parseFile reads the name of a file in the folder of a content.
func parseFile(c storage.Content, file string) (storage.Name, bool) {
	n := storage.Name{Content: c, File: file, Format: "raw"}
	if file == "." || file == ".." {
		return n, false
	}
	switch c {
	case storage.ISO:
		return n, isoFile.MatchString(file)
	case storage.Templates:
		return n, templateFile.MatchString(file)
	case storage.Backups:
		if m := backupOwner.FindStringSubmatch(file); m != nil {
			n.Guest = vmid(m[2])
		}
		return n, backupFile.MatchString(file)
	case storage.Snippets:
		return n, snippetFile.MatchString(file)
	case storage.Imports:
		if m := ovaMember.FindStringSubmatch(file); m != nil {
			n.Format = "ova+" + m[3]
			return n, true
		}
		m := importFile.FindStringSubmatch(file)
		if m != nil {
			n.Format = m[1]
		}
		return n, m != nil
	}
	return n, false
}

func vmid(text string) id.VM {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0
	}
	return id.VM(n)
}

// imageVolume returns the name of the volume whose file lies in a guest's folder.
func imageVolume(n storage.Name) string {
	name := n.Guest.String() + "/" + n.File
	if n.Base != "" {
		name = n.BaseGuest.String() + "/" + n.Base + "/" + name
	}
	return name
}
