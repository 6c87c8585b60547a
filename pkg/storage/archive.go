package storage

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// An Archive is what the file name of a backup says.
type Archive struct {
	File         string
	Type         string   // lxc, openvz, qemu, or unknown
	Format       string   // tar or vma
	Compression  string   // gz, lzo, zst, bz2, or empty
	Decompressor []string // the program that undoes the compression
	// Standard says that the name is as backups are named when they are made. Only
	// then the following is set.
	Standard bool
	Guest    id.VM
	Created  time.Time
	Log      string // the file of the log beside it
	Notes    string // the file of the notes beside it
}

var (
	archiveFile     = regexp.MustCompile(`^(.+)\.(?:(tgz)|(tar|vma)(?:\.(gz|lzo|zst|bz2))?)$`)
	archiveType     = regexp.MustCompile(`^vzdump-(lxc|openvz|qemu)-`)
	archiveStandard = regexp.MustCompile(`^vzdump-(?:lxc|openvz|qemu)-([1-9][0-9]{2,8})-(\d{4}_\d{2}_\d{2}-\d{2}_\d{2}_\d{2})$`)
)

// ParseArchive reads the name of a backup: of a file, or the last part of a volume's.
// Moments in names are in the given zone.
func ParseArchive(name string, zone *time.Location) (Archive, error) {
	a := Archive{File: path.Base(name), Type: "unknown"}
	m := archiveFile.FindStringSubmatch(a.File)
	if m == nil {
		return a, fmt.Errorf("ERROR: couldn't determine archive info from '%s'", name)
	}
	a.Format, a.Compression = m[3], m[4]
	if m[2] != "" {
		a.Format, a.Compression = "tar", "gz"
	}
	a.Decompressor = decompressor(a.Format, a.Compression)
	if t := archiveType.FindStringSubmatch(a.File); t != nil {
		a.Type = t[1]
	}
	if s := archiveStandard.FindStringSubmatch(m[1]); s != nil {
		at, err := time.ParseInLocation("2006_01_02-15_04_05", s[2], zone)
		guest, tooLarge := strconv.Atoi(s[1])
		if err == nil && tooLarge == nil {
			a.Standard, a.Guest, a.Created = true, id.VM(guest), at
			a.Log, a.Notes = m[1]+".log", a.File+".notes"
		}
	}
	return a, nil
}

// decompressor returns the program and its first arguments: tar does its own.
func decompressor(format, compression string) []string {
	if format == "tar" {
		return map[string][]string{"gz": {"tar", "-z"}, "bz2": {"tar", "--bzip2"}, "lzo": {"tar", "--lzop"}, "zst": {"tar", "--zstd"}}[compression]
	}
	return map[string][]string{"gz": {"zcat"}, "bz2": {"bzcat", "-q"}, "lzo": {"lzop", "-d", "-c"}, "zst": {"zstd", "-q", "-d", "-c"}}[compression]
}
