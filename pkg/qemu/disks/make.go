package disks

import (
	"context"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Make makes the volumes that drives ask for, copies into them what they are to be
// imported from, and looks at the volumes that are there already. It returns the
// values of the drives as a configuration keeps them. How to undo it is added to undo;
// when it fails, nothing is left and nothing is added.
func (s *Service) Make(ctx context.Context, r Request, undo *revert.List) (schema.Params, error) {
	made, mine := schema.Params{}, undoList(ctx)
	defer mine.Fail()
	for d := range qemu.Drives(r.Drives, qemu.Volumes) {
		text, err := s.make(ctx, r, d, made, mine)
		if err != nil {
			return nil, err
		}
		made[d.Key()] = text
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
	}
	mine.Move(undo)
	return made, nil
}

// make makes one drive. made are those before it.
func (s *Service) make(ctx context.Context, r Request, d qemu.Drive, made schema.Params, undo *revert.List) (string, error) {
	if none(d.File) {
		d.Size = nil
		return qemu.PrintDrive(d), nil
	}
	var err error
	if storeid, ok := asksCloudInit(d.File); ok {
		if err := checkOneCloudInit(d.Key(), r.Values, made); err != nil {
			return "", err
		}
		err = s.makeCloudInit(ctx, r, &d, storeid, undo)
	} else if storeid, size, ok := asksNew(d.File); ok && !d.IsCDROM() {
		err = s.makeNew(ctx, r, &d, storeid, size, undo)
	} else {
		return s.adopt(ctx, d)
	}
	if err != nil {
		return "", err
	}
	text := qemu.PrintDrive(d)
	if plan.From(ctx) == nil {
		api.Printf(ctx, "%s: successfully created disk '%s'\n", d.Key(), text)
	}
	return text, nil
}

// place returns where a new volume goes.
func (r Request) place(storeid id.Storage) (id.Storage, error) {
	if storeid == "" {
		storeid = r.Storage
	}
	if storeid == "" {
		return "", errNoStorage
	}
	return storeid, nil
}

// makeCloudInit makes the image that cloud-init reads; what is in it comes when the VM
// starts.
func (s *Service) makeCloudInit(ctx context.Context, r Request, d *qemu.Drive, storeid id.Storage, undo *revert.List) error {
	storeid, err := r.place(storeid)
	if err != nil {
		return err
	}
	name, format, err := s.cloudInitFile(ctx, storeid, r.VMID, text(d.Format))
	if err != nil {
		return err
	}
	v, err := s.Storage.Alloc(ctx, storeid, storage.Alloc{Guest: r.VMID, Format: format, File: name, Size: CloudInitSize / 1024})
	if err != nil {
		return err
	}
	s.toFree(undo, v)
	d.File, d.Media, d.Format = v.String(), new("cdrom"), nil
	return nil
}

// cloudInitFile returns the name and format of the image for cloud-init: on storages
// with files the name ends in the format, which is qcow2 where none is wished for.
func (s *Service) cloudInitFile(ctx context.Context, storeid id.Storage, vmid id.VM, format string) (string, string, error) {
	def, err := s.Storage.Lookup(ctx, storeid)
	if err != nil {
		return "", "", err
	}
	name := "vm-" + vmid.String() + "-cloudinit"
	if def.Options["path"] == "" {
		if format == "" {
			format = "raw"
		}
		return name, format, nil
	}
	if format == "" {
		format = "qcow2"
	}
	return name + "." + format, format, nil
}

// makeNew makes a volume of the given size, or one that holds what is imported.
func (s *Service) makeNew(ctx context.Context, r Request, d *qemu.Drive, storeid id.Storage, gib string, undo *revert.List) error {
	storeid, err := r.place(storeid)
	if err != nil {
		return err
	}
	step := undoList(ctx)
	defer step.Fail()
	var v id.Volume
	var size int64
	switch {
	case d.ImportFrom != nil:
		v, size, err = s.importInto(ctx, r, *d, storeid, step)
	case d.Bus == "efidisk":
		v, size, err = s.makeEFI(ctx, r, *d, storeid, step)
	default:
		v, size, err = s.makeEmpty(ctx, r, *d, storeid, gib, step)
	}
	if err != nil {
		return err
	}
	if isOn(r.Values["template"]) {
		if v, err = s.Storage.CreateBase(ctx, v); err != nil {
			return err
		}
		step.Success() // it goes by another name now
		s.toFree(step, v)
	}
	step.Move(undo)
	d.File, d.Size, d.Format, d.ImportFrom = v.String(), new(schema.Size(size)), nil, nil
	return nil
}

func (s *Service) makeEmpty(ctx context.Context, r Request, d qemu.Drive, storeid id.Storage, gib string, undo *revert.List) (id.Volume, int64, error) {
	format := text(d.Format)
	kib, err := schema.ConvertSize(gib, "gb", "kb", true)
	if err != nil {
		return id.Volume{}, 0, err
	}
	if !kib.IsInt64() || kib.Int64() > 1<<52 {
		return id.Volume{}, 0, fmt.Errorf("%s: a size of %s GiB is too large", d.Key(), gib)
	}
	size := kib.Int64()
	if d.Bus == "tpmstate" { // swtpm reads raw images only
		format, size = "raw", TPMStateSize/1024
	}
	v, err := s.Storage.Alloc(ctx, storeid, storage.Alloc{Guest: r.VMID, Format: format, Size: size})
	if err == nil {
		s.toFree(undo, v)
	}
	return v, size * 1024, err
}

// makeEFI makes a disk with the variables of the firmware as they are at first.
func (s *Service) makeEFI(ctx context.Context, r Request, d qemu.Drive, storeid id.Storage, undo *revert.List) (id.Volume, int64, error) {
	fw, err := s.efiVars(r.Values, d)
	if err != nil {
		return id.Volume{}, 0, err
	}
	v, err := s.Storage.Alloc(ctx, storeid, storage.Alloc{Guest: r.VMID, Format: text(d.Format), Size: (fw.VarsSize + 1023) / 1024})
	if err != nil {
		return v, 0, err
	}
	s.toFree(undo, v)
	from, done, err := s.enrolled(ctx, fw.Vars, d)
	if err != nil {
		return v, 0, err
	}
	defer done()
	if err := s.Storage.Convert(ctx, from, v.String(), storage.ConvertOptions{}); err != nil {
		return v, 0, err
	}
	return v, s.sizeOf(ctx, v, fw.VarsSize), nil
}

// sizeOf returns the size of a volume that was just made. In a dry run it is as large as
// was asked for.
func (s *Service) sizeOf(ctx context.Context, v id.Volume, asked int64) int64 {
	if plan.From(ctx) != nil {
		return asked
	}
	info, err := s.Storage.Info(ctx, v)
	if err != nil {
		return asked
	}
	return info.Size
}

// adopt looks at a volume or path that is there already.
func (s *Service) adopt(ctx context.Context, d qemu.Drive) (string, error) {
	var size int64
	if strings.HasPrefix(d.File, "/") {
		n, err := s.Storage.FileSize(ctx, d.File, "raw")
		if err != nil {
			return "", fmt.Errorf("volume %s does not exist", d.File)
		}
		size = n
	} else {
		v, err := id.ParseVolume(d.File)
		if err != nil {
			return "", err
		}
		if err := s.Storage.ActivateVolumes(ctx, "", v); err != nil {
			return "", err
		}
		info, err := s.Storage.Info(ctx, v)
		if err != nil {
			return "", err
		}
		size = info.Size
	}
	d.Size = new(schema.Size(size))
	return qemu.PrintDrive(d), nil
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
