package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A signature is where a file system tells its name.
type signature struct {
	fstype string
	at     int64
	magic  string
}

func signatures() []signature {
	return []signature{
		{"ext4", 0x438, "\x53\xef"}, // and its elders: the one driver does them all
		{"xfs", 0, "XFSB"},
		{"btrfs", 0x10040, "_BHRfS_M"},
		{"f2fs", 0x400, "\x10\x20\xf5\xf2"},
		{"squashfs", 0, "hsqs"},
		{"erofs", 0x400, "\xe2\xe1\xf5\xe0"},
		{"iso9660", 0x8001, "CD001"},
	}
}

// filesystems returns the file systems to try on a device or an image: the one it says it
// is, else all that the kernel has for devices.
func (h Host) filesystems(f io.ReaderAt) ([]string, error) {
	if fstype, err := probe(f); err != nil || fstype != "" {
		return []string{fstype}, err
	}
	text, err := os.ReadFile(h.proc() + "/filesystems")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "\t"); ok {
			all = append(all, strings.TrimSpace(name))
		}
	}
	return all, nil
}

// probe tells which file system is there, "" for none that it knows.
func probe(f io.ReaderAt) (string, error) {
	for _, s := range signatures() {
		got := make([]byte, len(s.magic))
		_, err := f.ReadAt(got, s.at)
		switch {
		case errors.Is(err, io.EOF): // too small for this one
		case err != nil:
			return "", err
		case bytes.Equal(got, []byte(s.magic)):
			return s.fstype, nil
		}
	}
	return "", nil
}

// An option is one that the file system itself has: a flag when it has no value.
type option struct {
	key, value string
	soft       bool // not every version of the kernel has it, and it is not missed
}

// fsOptions returns what the file system of the given type is told.
func (p Point) fsOptions(fstype string) ([]option, error) {
	var o []option
	if p.readOnly() {
		o = append(o, option{key: "ro"})
	}
	if p.Frozen {
		o = append(o, frozen(fstype)...)
	}
	if p.Options.LazyTime {
		o = append(o, option{key: "lazytime"})
	}
	writes := fstype == "ext4" || fstype == "xfs" || fstype == "btrfs" || fstype == "f2fs"
	if p.Options.Discard && writes && !p.readOnly() {
		o = append(o, option{key: "discard"})
	}
	if p.ACL != nil && writes && fstype != "xfs" { // xfs always has them
		if *p.ACL {
			o = append(o, option{key: "acl", soft: true})
		} else {
			// New kernels do not let ext4 be without.
			o = append(o, option{key: "noacl", soft: true})
		}
	}
	if p.Quota && !p.readOnly() {
		q, err := quota(fstype)
		if err != nil {
			return nil, err
		}
		o = append(o, q...)
	}
	return o, nil
}

// frozen returns what keeps a file system from playing back its journal. A snapshot of XFS
// has the name of its origin, which may be mounted at the same time.
func frozen(fstype string) []option {
	switch fstype {
	case "ext4":
		return []option{{key: "noload"}}
	case "xfs":
		return []option{{key: "norecovery"}, {key: "nouuid"}}
	case "btrfs":
		return []option{{key: "rescue", value: "nologreplay"}}
	case "f2fs":
		return []option{{key: "norecovery"}}
	}
	return nil
}

func quota(fstype string) ([]option, error) {
	switch fstype {
	case "ext4":
		return []option{
			{key: "usrjquota", value: "aquota.user"},
			{key: "grpjquota", value: "aquota.group"},
			{key: "jqfmt", value: "vfsv0"},
		}, nil
	case "xfs":
		return []option{{key: "usrquota"}, {key: "grpquota"}}, nil
	}
	return nil, fmt.Errorf("there are no user quotas on %s inside containers", fstype)
}

// openFilesystem mounts what is on a device, away from every tree.
func (p Point) openFilesystem(s *source) (*os.File, error) {
	var errs []error
	for _, fstype := range s.fstype {
		fd, err := p.fsMount(s, fstype)
		if err == nil || errors.Is(err, unix.ENOSYS) {
			return fd, err
		}
		errs = append(errs, err)
	}
	return nil, p.unmountable(s, errs)
}

// unmountable says why no file system would do.
func (p Point) unmountable(s *source, errs []error) error {
	if len(errs) == 1 {
		return fmt.Errorf("mount %s: %w", s.device, errs[0])
	}
	return fmt.Errorf("mount %s: no file system on it that is known here", s.device)
}

func (p Point) fsMount(s *source, fstype string) (*os.File, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fstype, err)
	}
	defer unix.Close(fd)
	options, err := p.fsOptions(fstype)
	if err != nil {
		return nil, err
	}
	err = unix.FsconfigSetString(fd, "source", s.device)
	for _, o := range options {
		if err != nil {
			break
		}
		if o.value == "" {
			err = unix.FsconfigSetFlag(fd, o.key)
		} else {
			err = unix.FsconfigSetString(fd, o.key, o.value)
		}
		if o.soft && errors.Is(err, unix.EINVAL) {
			err = nil
		}
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err != nil {
		return nil, p.fsError(fstype, fsLog(fd), err)
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, int(p.attributes()))
	if err != nil {
		return nil, p.fsError(fstype, fsLog(fd), err)
	}
	return os.NewFile(uintptr(m), s.device), nil
}

// fsError says what a file system had to say.
func (p Point) fsError(fstype, log string, err error) error {
	if log != "" {
		err = fmt.Errorf("%w: %s", err, log)
	}
	if p.Quota && !p.readOnly() && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOTSUP)) {
		err = fmt.Errorf("%w (with quota=1, which the kernel must have for it)", err)
	}
	return fmt.Errorf("%s: %w", fstype, err)
}

// fsLog reads what the kernel noted about a file system that it is to mount.
func fsLog(fd int) string {
	var lines []string
	buf := make([]byte, 1024)
	for range 16 {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			break
		}
		// "e ext4: text": the letter is how bad it is.
		line := strings.TrimSpace(string(buf[:n]))
		if text, ok := strings.CutPrefix(line, "e "); ok {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, "; ")
}

// attributes are the options that belong to the mount, not to the file system.
func (p Point) attributes() uint64 {
	var a uint64
	for _, o := range []struct {
		on   bool
		attr uint64
	}{
		{p.readOnly(), unix.MOUNT_ATTR_RDONLY},
		{p.Options.NoATime, unix.MOUNT_ATTR_NOATIME},
		{p.Options.NoDev, unix.MOUNT_ATTR_NODEV},
		{p.Options.NoExec, unix.MOUNT_ATTR_NOEXEC},
		{p.Options.NoSUID, unix.MOUNT_ATTR_NOSUID},
	} {
		if o.on {
			a |= o.attr
		}
	}
	return a
}

// flags are the attributes as mount(2) has them.
func (p Point) flags() uintptr {
	var f uintptr
	for _, o := range []struct {
		on   bool
		flag uintptr
	}{
		{p.readOnly(), unix.MS_RDONLY},
		{p.Options.NoATime, unix.MS_NOATIME},
		{p.Options.NoDev, unix.MS_NODEV},
		{p.Options.NoExec, unix.MS_NOEXEC},
		{p.Options.NoSUID, unix.MS_NOSUID},
	} {
		if o.on {
			f |= o.flag
		}
	}
	return f
}

// legacyFilesystem mounts what is on a device onto an opened folder with mount(2).
func (p Point) legacyFilesystem(s *source, onto string) error {
	var errs []error
	for _, fstype := range s.fstype {
		options, err := p.fsOptions(fstype)
		if err != nil {
			return err
		}
		err = p.legacyMount(s.device, onto, fstype, options)
		hard := slices.DeleteFunc(slices.Clone(options), func(o option) bool { return o.soft })
		if errors.Is(err, unix.EINVAL) && len(hard) < len(options) {
			err = p.legacyMount(s.device, onto, fstype, hard)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, p.fsError(fstype, "", err))
	}
	return p.unmountable(s, errs)
}

func (p Point) legacyMount(device, onto, fstype string, options []option) error {
	flags := p.flags()
	var words []string
	for _, o := range options {
		switch {
		case o.key == "ro":
		case o.key == "lazytime":
			flags |= unix.MS_LAZYTIME
		case o.value != "":
			words = append(words, o.key+"="+o.value)
		default:
			words = append(words, o.key)
		}
	}
	return unix.Mount(device, onto, fstype, flags, strings.Join(words, ","))
}
