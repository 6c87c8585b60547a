package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"strings"
)

// A Kind is what an archive is.
type Kind string

// The kinds.
const (
	Tar    Kind = "tar"    // the files of a container: a template
	Backup Kind = "backup" // the files of a container with its configuration: of vzdump
	OCI    Kind = "oci"    // an OCI image, or one as docker saves it
	Other  Kind = ""       // no archive that a container can be made of
)

// Where a backup keeps the configuration of what was backed up.
const (
	BackupConfig   = "etc/vzdump/pct.conf"
	BackupFirewall = "etc/vzdump/pct.fw"
	OpenVZConfig   = "etc/vzdump/vps.conf"
)

// detectMembers is how many members of an archive are looked at: a backup begins with its
// configuration, and an image has few members.
const detectMembers = 64

// Detect tells what an archive is, by what it begins with. The source must be one that can
// be read again.
func Detect(ctx context.Context, s *Source, o Options) (Kind, error) {
	o.Progress, o.Limit = nil, 0
	in, err := s.open(ctx, o)
	if errors.Is(err, errDamaged) {
		return Other, nil
	}
	if err != nil {
		return Other, s.failure(ctx, err)
	}
	defer in.Close()
	kind, err := detect(tar.NewReader(in))
	if ctx.Err() != nil {
		return Other, s.failure(ctx, ctx.Err())
	}
	if err != nil && kind == Other && !errors.Is(damaged(err), errDamaged) {
		return Other, s.failure(ctx, err)
	}
	return kind, nil // what cannot be read as an archive is none
}

func detect(r *tar.Reader) (Kind, error) {
	kind, image := Other, imageMarks{}
	for range detectMembers {
		h, err := r.Next()
		if err == io.EOF {
			return kind, nil
		}
		if err != nil {
			return kind, err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		switch {
		case name == BackupConfig, name == OpenVZConfig:
			return Backup, nil
		case image.add(name):
			return OCI, nil
		}
		kind = Tar
	}
	return kind, nil
}

// imageMarks are the files that make an archive an image.
type imageMarks struct{ layout, index, manifest, blobs, layers bool }

func (m *imageMarks) add(name string) bool {
	switch {
	case name == "oci-layout":
		m.layout = true
	case name == "index.json":
		m.index = true
	case name == "manifest.json":
		m.manifest = true
	case strings.HasPrefix(name, "blobs/"):
		m.blobs = true
	case strings.HasSuffix(name, "/layer.tar"), isHex(strings.TrimSuffix(name, ".tar")):
		m.layers = true
	}
	return m.layout && m.index && m.blobs || m.manifest && (m.layers || m.blobs)
}

func isHex(s string) bool {
	if len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
