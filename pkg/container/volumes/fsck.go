package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Check checks the file system of a mount point of a container that does not run, and
// repairs what can be repaired safely. force checks one that seems clean too.
func (s *Service) Check(ctx context.Context, vmid id.VM, key string, force bool) error {
	return s.Locked(ctx, vmid, "fsck", func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		value, ok := doc.Values[key]
		if !ok {
			return fmt.Errorf("cannot run command on non-existing mount point %s", key)
		}
		p, err := container.ParsePoint(key, value)
		if err != nil {
			return err
		}
		running, err := s.Running(ctx, vmid)
		if err != nil {
			return err
		}
		if running {
			return errors.New("cannot run fsck when container is running")
		}
		path, err := s.checkable(ctx, p)
		if err != nil {
			return err
		}
		return s.fsck(ctx, path, force)
	})
}

// checkable returns the image or device that has the file system of a mount point.
func (s *Service) checkable(ctx context.Context, p container.Point) (string, error) {
	if p.Kind() != container.VolumeSource {
		if st, err := os.Stat(p.Volume); err != nil || st.Mode()&os.ModeDevice == 0 || st.Mode()&os.ModeCharDevice != 0 {
			return "", fmt.Errorf("path '%s' does not point to a block device", p.Volume)
		}
		return p.Volume, nil
	}
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return "", err
	}
	n, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return "", err
	}
	if n.Format != "raw" {
		return "", fmt.Errorf("unable to run fsck for '%s' (format == %s)", v, n.Format)
	}
	if err := s.Storage.ActivateVolumes(ctx, "", v); err != nil {
		return "", err
	}
	path, err := s.devicePath(ctx, v, "")
	if err != nil {
		return "", err
	}
	devices, err := s.mounter(ctx).Loops(path)
	if err == nil && len(devices) > 0 {
		err = fmt.Errorf("volume '%s' is in use as %s: it may be mounted by 'pct mount'", v, devices[0])
	}
	return path, err
}

func (s *Service) fsck(ctx context.Context, path string, force bool) error {
	args := []string{"-a", "-l"}
	if force {
		args = append(args, "-f")
	}
	err := s.command(ctx, "fsck", append(args, path)...)
	// 1 says that it has repaired what was wrong.
	if run.ExitCode(err) == 1 {
		api.Warnf(ctx, "errors of the file system on %s were corrected", path)
		return nil
	}
	return err
}
