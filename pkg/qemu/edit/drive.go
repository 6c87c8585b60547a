package edit

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// drive checks what is given for a drive and returns it as it is kept until the volume
// is made.
func (s *settler) drive(ctx context.Context, key, text string) (string, error) {
	if _, err := qemu.ParseDrive(key, text); err != nil {
		faults, ok := err.(schema.Faults)
		if _, disc := faults[key+".media"]; disc { // upstream's text, which clients know
			return "", api.BadParam(key, "unable to parse drive options")
		}
		if ok {
			return "", api.ParamError(faults)
		}
		return "", api.BadParam(key, "%s", err)
	}
	if qemu.KindOfDrive(key) == qemu.UnusedDisks {
		return text, nil
	}
	kept, err := s.Disks.Normalize(ctx, schema.Params{key: text})
	if err != nil {
		return "", err
	}
	return kept[key], s.Disks.Check(ctx, disks.Request{VMID: s.vmid, Drives: kept, Storage: s.storage})
}

// driveValues returns those of values that are of drives in use.
func driveValues(values schema.Params) schema.Params {
	drives := schema.Params{}
	for key, text := range values {
		if qemu.KindOfDrive(key)&qemu.Volumes != 0 {
			drives[key] = text
		}
	}
	return drives
}
