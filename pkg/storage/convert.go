package storage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// An Image is how qemu-img is told of a volume.
type Image struct {
	Path     string // a path or an address
	Options  bool   // Path is a list of driver options
	Format   string // empty lets qemu-img look
	Snapshot string // a state inside the image
	Cache    string // how a target is written to, as qemu-img's -t has it; empty lets the host keep data back
}

// ConvertOptions says how to copy.
type ConvertOptions struct {
	Snapshot string // the state of the source to read
	// Zeroed says that the target reads as zeros already, so that zeros of the source
	// need not be written.
	Zeroed  bool
	BWLimit int // KiB/s, 0 for no limit
	// Progress is told how far the work is, in bytes; nil shows it to the user.
	Progress func(done, total int64)
}

// ConvertArgs returns the arguments with which qemu-img copies source to target, which
// is there already.
func ConvertArgs(source, target Image, o ConvertOptions) []string {
	args := []string{"convert", "-p", "-n"}
	if source.Snapshot != "" {
		args = append(args, "-l", "snapshot.name="+source.Snapshot)
	}
	if o.BWLimit > 0 {
		args = append(args, "-r", strconv.Itoa(o.BWLimit)+"K")
	}
	// Stock qemu-img says with a flag what upstream's says with a filter before the path.
	if o.Zeroed && !target.Options {
		args = append(args, "--target-is-zero")
	}
	if target.Cache != "" {
		args = append(args, "-t", target.Cache)
	}
	switch {
	case source.Options:
		args = append(args, "--image-opts")
	case source.Format != "":
		args = append(args, "-f", source.Format)
	}
	switch {
	case target.Options:
		args = append(args, "--target-image-opts")
	case target.Format != "":
		args = append(args, "-O", target.Format)
	}
	return append(args, source.Path, target.Path)
}

// imageFile finds the format that a file's name says.
var imageFile = pattern.New(`\.(raw|qcow2|vmdk|qed|cloop)$`)

// Image returns how qemu-img is told of what text names: a volume, or a path.
func (s *Service) Image(ctx context.Context, text, snap string, target bool) (Image, error) {
	if !id.IsVolume(text) {
		if m := imageFile.FindStringSubmatch(text); m != nil {
			return Image{Path: text, Format: m[1]}, nil
		}
		return Image{Path: text}, nil
	}
	v, err := id.ParseVolume(text)
	if err != nil {
		return Image{}, err
	}
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return Image{}, err
	}
	if i, ok := p.(Imager); ok {
		return i.Image(ctx, v.Name, snap, target)
	}
	return PlainImage(p, v.Name, snap)
}

// PlainImage is how qemu-img is told of a volume that it reads at its path.
func PlainImage(p Pool, name, snap string) (Image, error) {
	n, err := p.Parse(name)
	if err != nil {
		return Image{}, err
	}
	img := Image{Format: n.Format}
	c, _ := p.(Chainer)
	inside := snap != "" && n.Format == "qcow2" && (c == nil || !c.Chained(name))
	if inside {
		img.Snapshot, snap = snap, ""
	}
	img.Path, err = p.Path(name, snap)
	return img, err
}

// ISCSIImage turns an address iscsi://PORTAL/TARGET/LUN into driver options, which
// unlike the address can carry the name of the initiator.
func ISCSIImage(address, initiator string) (Image, error) {
	parts := strings.SplitN(strings.TrimPrefix(address, "iscsi://"), "/", 3)
	if len(parts) != 3 || !strings.HasPrefix(address, "iscsi://") {
		return Image{}, fmt.Errorf("cannot convert iscsi path '%s', unknown format", address)
	}
	options := "file.driver=iscsi,file.transport=tcp"
	if initiator != "" {
		options += ",file.initiator-name=" + initiator
	}
	options += ",file.portal=" + parts[0] + ",file.target=" + parts[1] + ",file.lun=" + parts[2] + ",driver=raw"
	return Image{Path: options, Options: true}, nil
}

// Convert copies source, a volume or a path, into target, which must be there and at
// least as large. Both are made ready first. It does not remove the target when it
// fails: that is for the one who made it.
func (s *Service) Convert(ctx context.Context, source, target string, o ConvertOptions) error {
	for text, snap := range map[string]string{source: o.Snapshot, target: ""} {
		if v, err := id.ParseVolume(text); err == nil && plan.From(ctx) == nil {
			if err := s.ActivateVolumes(ctx, snap, v); err != nil {
				return err
			}
		}
	}
	from, err := s.Image(ctx, source, o.Snapshot, false)
	if err != nil {
		return err
	}
	to, err := s.Image(ctx, target, "", true)
	if err != nil {
		return err
	}
	c := run.Cmd{Path: s.o.QEMUImg, Args: ConvertArgs(from, to, o)}
	if p := plan.From(ctx); p != nil {
		p.Stepf("%s", c)
		return nil
	}
	size, err := s.sizeOf(ctx, source, from)
	if err != nil {
		return err
	}
	c.Stderr = api.StreamsOf(ctx).Err
	if o.Progress == nil {
		show := term.NewProgress(api.StreamsOf(ctx).Out, "", size)
		defer show.Done()
		o.Progress = func(done, _ int64) { show.Set(done) }
	}
	if err := run.Lines(ctx, s.o.Runner, c, func(line string) error {
		if m := percent.FindStringSubmatch(line); m != nil {
			share, _ := strconv.ParseFloat(m[1], 64)
			o.Progress(int64(float64(size)*share/100), size)
		}
		return nil
	}); err != nil {
		return s.orFull(ctx, target, fmt.Errorf("copy failed: %w", Tool(err)))
	}
	// Nobody uses it yet. The source may have other users, as this was not who made it ready.
	if v, err := id.ParseVolume(target); err == nil {
		if err := s.DeactivateVolumes(ctx, "", v); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
	return nil
}

// orFull says of a failed copy that the storage is full, where that does not tell it by
// itself: a target of iSCSI knows no better word for it than that it is not ready.
func (s *Service) orFull(ctx context.Context, target string, err error) error {
	v, not := id.ParseVolume(target)
	if not != nil || ctx.Err() != nil {
		return err
	}
	if e, ok := errors.AsType[*run.Error](err); ok && strings.Contains(strings.ToLower(e.Stderr), "no space left") {
		return err
	}
	st, not := s.Status(ctx, v.Storage)
	if not != nil || st.Total == 0 || st.Available > st.Total/100 {
		return err
	}
	return fmt.Errorf("%w\nstorage '%s' is full: %s of %s are left", err, v.Storage, schema.Bytes(float64(st.Available), 2), schema.Bytes(float64(st.Total), 2))
}

// percent is how qemu-img tells how far it is.
var percent = pattern.New(`\((\S+)/100%\)`)

// sizeOf returns the size of what is copied, for the progress.
func (s *Service) sizeOf(ctx context.Context, text string, img Image) (int64, error) {
	if v, err := id.ParseVolume(text); err == nil {
		info, err := s.Info(ctx, v)
		return info.Size, err
	}
	return s.FileSize(ctx, img.Path, img.Format)
}

// FileSize returns the size of the disk in the image at a path of the host. The format
// is looked for in the name where none is given.
func (s *Service) FileSize(ctx context.Context, path, format string) (int64, error) {
	if format == "" {
		if m := imageFile.FindStringSubmatch(path); m != nil {
			format = m[1]
		}
	}
	info, err := ImageInfo(ctx, Env{Runner: s.o.Runner, QEMUImg: s.o.QEMUImg}, filepath.Clean(path), format)
	return info.Size, err
}
