package outside

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

var (
	imageName = pattern.New(`^(vm|base|subvol|basevol)-([1-9]\d{2,8})-([A-Za-z0-9][A-Za-z0-9._+-]*)$`)
	otherName = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._:+-]*$`)
	fileName  = pattern.New(`^[A-Za-z0-9][A-Za-z0-9 ._:+=@-]*$`)
)

// parse reads a volume's name. The names are the same for all programs: that of an
// image, behind that of its base where it is a linked clone, or a content and a file.
// Images that are made elsewhere are called anything.
func (d *Description) parse(name string) (storage.Name, error) {
	first, rest, two := strings.Cut(name, "/")
	if !two {
		if n, ok := d.image(name); ok {
			return n, nil
		}
		if d.Existing && otherName.MatchString(name) {
			return storage.Name{Content: storage.Images, File: name, Format: d.format()}, nil
		}
	}
	if base, ok := d.image(first); two && ok && base.IsBase {
		if n, ok := d.image(rest); ok {
			n.Base, n.BaseGuest = base.File, base.Guest
			return n, nil
		}
	}
	c := storage.Content(first)
	isFile := c != storage.Images && c != storage.Rootdir && c != storage.None && slices.Contains(d.Contents, c)
	if two && isFile && fileName.MatchString(rest) {
		return storage.Name{Content: c, File: rest, Format: "raw"}, nil
	}
	return storage.Name{}, fmt.Errorf("unable to parse %s volume name '%s'", d.Name, name)
}

// image reads the name of an image. Where there are several formats, it ends in that of
// the image.
func (d *Description) image(file string) (storage.Name, bool) {
	m := imageName.FindStringSubmatch(file)
	if m == nil {
		return storage.Name{}, false
	}
	guest, err := strconv.ParseInt(m[2], 10, 32)
	if err != nil {
		return storage.Name{}, false
	}
	n := storage.Name{Content: storage.Images, File: file, Guest: id.VM(guest), IsBase: strings.HasPrefix(m[1], "base"), Format: d.format()}
	switch {
	case strings.HasSuffix(m[1], "vol"):
		n.Format = "subvol"
		return n, slices.Contains(d.Formats, "subvol")
	case d.suffixed():
		i := strings.LastIndex(file, ".")
		if i < 0 || !slices.Contains(d.Formats, file[i+1:]) {
			return n, false
		}
		n.Format = file[i+1:]
	}
	return n, true
}

// format is that of images where there is one only.
func (d *Description) format() string {
	if len(d.Formats) == 0 {
		return "raw"
	}
	return d.Formats[0]
}

// suffixed tells whether names end in the format: not where there is one only, of which
// subvolumes, whose names begin differently, are none.
func (d *Description) suffixed() bool {
	return len(slices.DeleteFunc(slices.Clone(d.Formats), func(f string) bool { return f == "subvol" })) > 1
}

// file returns the name that the image of a guest with a number gets.
func (d *Description) file(guest id.VM, number int, format string) string {
	prefix := "vm"
	if format == "subvol" {
		prefix = "subvol"
	}
	name := fmt.Sprintf("%s-%s-disk-%d", prefix, guest, number)
	if d.suffixed() && format != "subvol" {
		name += "." + format
	}
	return name
}

// numbered is how images are named that we chose the name of.
var numbered = pattern.New(`^(?:vm|base|subvol|basevol)-(\d+)-disk-(\d+)(?:\.|$)`)

// volume returns the name of the volume, with its base.
func volume(n storage.Name) string {
	if n.Base != "" {
		return n.Base + "/" + n.File
	}
	return n.File
}
