package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// mostStream bounds the sizes that streams may announce.
const mostStream = 1 << 60

// WriteHeader begins a stream with the size of the volume.
func WriteHeader(w io.Writer, size int64) error {
	_, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(size)))
	return err
}

// ReadHeader reads what WriteHeader has written, and no byte more.
func ReadHeader(r io.Reader) (int64, error) {
	var head [8]byte
	switch _, err := io.ReadFull(r, head[:]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, errors.New("import: no size found in export header, aborting.")
	case err != nil:
		return 0, fmt.Errorf("import: read export header: %w", err)
	}
	size := binary.LittleEndian.Uint64(head[:])
	if size > mostStream {
		return 0, fmt.Errorf("import: got a bad size (%d bytes) in export header, aborting.", size)
	}
	return int64(size), nil
}

// NoExport says in upstream's words that a storage does not write streams of a format.
func NoExport(storageType, format string) error {
	return fmt.Errorf("volume export format %s not available for %s", format, plugin(storageType))
}

// NoImport says in upstream's words that a storage does not read streams of a format.
func NoImport(storageType, format string) error {
	return fmt.Errorf("volume import format '%s' not available for %s", format, plugin(storageType))
}

// plugin is what upstream's messages call a type, which scripts look for.
func plugin(storageType string) string {
	names := map[string]string{
		"dir": "Dir", "btrfs": "BTRFS", "nfs": "NFS", "cifs": "CIFS", "lvm": "LVM", "lvmthin": "LvmThin", "zfspool": "ZFSPool", "zfs": "ZFS",
		"iscsi": "ISCSI", "iscsidirect": "ISCSIDirect", "rbd": "RBD", "cephfs": "CephFS", "glusterfs": "Glusterfs",
	}
	if name, ok := names[storageType]; ok {
		return "PVE::Storage::" + name + "Plugin"
	}
	return "storages of type '" + storageType + "'"
}

// CheckRawExport fails unless a stream is one of raw data without snapshots, which all storages
// of blocks write. from is where the volume lies, in upstream's words: "from iscsi storage".
func CheckRawExport(storageType, from string, s Stream) error {
	switch {
	case s.Format != "raw+size":
		return NoExport(storageType, s.Format)
	case s.All || len(s.Snapshots) > 0:
		return fmt.Errorf("cannot export volumes together with their snapshots %s", from)
	case s.Base != "":
		return fmt.Errorf("cannot export an incremental stream %s", from)
	}
	return nil
}

// CheckRawStream fails unless a volume of a pool without snapshots in its streams can be
// made from the stream: of raw data, all of it.
func CheckRawStream(p Pool, storageType, name string, s Stream) error {
	n, err := p.Parse(name)
	switch {
	case err != nil:
		return err
	case s.Format != "raw+size":
		return NoImport(storageType, s.Format)
	case s.All || len(s.Snapshots) > 0:
		return fmt.Errorf("cannot import volumes together with their snapshots in %s", plugin(storageType))
	case s.Base != "":
		return fmt.Errorf("cannot import an incremental stream in %s", plugin(storageType))
	case n.Format != "raw":
		return fmt.Errorf("cannot import format %s into a file of format %s", s.Format, n.Format)
	}
	return nil
}

// A Receiver makes volumes of a pool from streams that begin with a size.
type Receiver struct {
	Pool Pool
	// Taken tells in upstream's words that a name is taken. It returns an empty text where
	// it is free.
	Taken func(ctx context.Context, name string) (string, error)
	// Fill puts the data, which is all that is left of r, into the new volume. Nil means
	// that of raw images, see [FillFile].
	Fill func(ctx context.Context, r io.Reader, name string, size int64) error
}

// Receive makes a volume and returns its name, as [Importer] has it. What was checked of
// the stream before is for the caller.
func (v Receiver) Receive(ctx context.Context, r io.Reader, name string, s Stream, rename bool) (string, error) {
	n, err := v.Pool.Parse(name)
	if err != nil {
		return "", err
	}
	file, err := v.choose(ctx, name, n.File, rename)
	if err != nil {
		return "", err
	}
	size, err := ReadHeader(newPatientReader(ctx, r))
	if err != nil {
		return "", err
	}
	if rest := size % 1024; rest != 0 {
		api.Printf(ctx, "size %d is not aligned to granularity 1024, rounding up to %d\n", size, size-rest+1024)
	}
	a := Alloc{Guest: n.Guest, Format: n.Format, File: file, Size: (size + 1023) / 1024}
	made, err := v.Pool.Alloc(ctx, a)
	if errors.Is(err, ErrExists) && rename && a.File != "" { // somebody was faster
		a.File = ""
		made, err = v.Pool.Alloc(ctx, a)
	}
	if err != nil {
		return "", err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("fill %s with the stream", made)
		return made, nil
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("free "+made, func(ctx context.Context) error { return v.Pool.Free(ctx, made) })
	fill := v.Fill
	if fill == nil {
		fill = func(ctx context.Context, r io.Reader, name string, size int64) error {
			return fillVolume(ctx, v.Pool, r, name, size)
		}
	}
	if err := fill(ctx, r, made, size); err != nil {
		return "", err
	}
	undo.Success()
	return made, nil
}

// choose returns the file name to ask for: none where the one that is wanted is taken and
// another will do.
func (v Receiver) choose(ctx context.Context, name, file string, rename bool) (string, error) {
	taken, err := v.Taken(ctx, name)
	switch {
	case err != nil:
		return "", err
	case taken == "":
		return file, nil
	case !rename:
		return "", Told(taken, ErrExists)
	}
	fmt.Fprintf(api.StreamsOf(ctx).Err, "%s - importing with a different name\n", taken)
	return "", nil
}

// fillVolume fills a raw volume that was just made.
func fillVolume(ctx context.Context, p Pool, r io.Reader, name string, size int64) error {
	if a, ok := p.(VolumeActivator); ok {
		if err := a.ActivateVolume(ctx, name, ""); err != nil {
			return err
		}
	}
	path, err := p.Path(name, "")
	if err != nil {
		return err
	}
	return FillFile(ctx, r, path, Filling{Size: size, Zeroed: p.Has(FeatureSparse, name, "")})
}

// CommonFormats returns those of the first list that are in the second.
func CommonFormats(from, to []string) []string {
	return slices.DeleteFunc(slices.Clone(from), func(f string) bool { return !slices.Contains(to, f) })
}
