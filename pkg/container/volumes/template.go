package volumes

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// CheckTemplate returns why a container cannot become a template.
func (s *Service) CheckTemplate(ctx context.Context, vmid id.VM) error {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	return s.checkTemplate(ctx, vmid, doc)
}

func (s *Service) checkTemplate(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	if err := guest.CheckLock(cluster.Container, doc); err != nil {
		return err
	}
	switch running, err := s.Running(ctx, vmid); {
	case len(doc.Snapshots) > 0:
		return errors.New("unable to create template, because CT contains snapshots")
	case guest.IsTemplate(doc):
		return errors.New("you can't convert a template to a template")
	case err != nil:
		return err
	case running:
		return errors.New("you can't convert a CT to template if the CT is running")
	}
	for _, p := range container.Volumes(doc.Values) {
		v, err := id.ParseVolume(p.ID)
		if err != nil {
			return err
		}
		n, err := s.Storage.Parse(ctx, v)
		if err != nil {
			return err
		}
		if !isImage(n) {
			continue
		}
		able, err := s.Storage.Has(ctx, storage.FeatureTemplate, v, "")
		if err == nil && !able && !n.IsBase {
			err = fmt.Errorf("Template feature is not available for '%s'", v) //nolint:staticcheck // upstream's text
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Template makes a template of a container: its volumes become bases, which nobody changes
// any more. What is a base already when it fails is written down, and asking again goes on.
func (s *Service) Template(ctx context.Context, vmid id.VM) error {
	return s.Locked(ctx, vmid, "make a template", func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		if err := s.checkTemplate(ctx, vmid, doc); err != nil {
			return err
		}
		// First, as a file that cannot be written must not be found out with volumes that have
		// another name already.
		doc.Values["template"] = "1"
		if err := s.Save(ctx, vmid, doc); err != nil {
			return err
		}
		for _, p := range container.Volumes(doc.Values) {
			if err := s.makeBase(ctx, vmid, doc, p); err != nil {
				delete(doc.Values, "template")
				return errors.Join(err, s.Save(context.WithoutCancel(ctx), vmid, doc))
			}
		}
		return nil
	})
}

// makeBase turns the volume of a mount point into a base and writes its new name down.
func (s *Service) makeBase(ctx context.Context, vmid id.VM, doc *config.Doc, g guest.Volume) error {
	p, err := container.ParsePoint(g.Key, doc.Values[g.Key])
	if err != nil {
		return err
	}
	v, err := id.ParseVolume(g.ID)
	if err != nil {
		return err
	}
	if n, err := s.Storage.Parse(ctx, v); err != nil || n.IsBase || !isImage(n) {
		return err
	}
	base, err := s.Storage.CreateBase(ctx, v)
	if err != nil {
		return err
	}
	p.Volume = base.String()
	doc.Values[g.Key] = p.Value()
	return s.Save(context.WithoutCancel(ctx), vmid, doc)
}

// isImage tells whether a volume is one of a guest, not a medium that only is mounted.
func isImage(n storage.Name) bool { return n.Content == storage.Images || n.Content == storage.Rootdir }
