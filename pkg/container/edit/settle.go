package edit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// settler brings what a caller gives into the form that is kept.
type settler struct {
	*Service
	values schema.Params // changed in place
	dc     *cluster.Datacenter
}

// settle checks all values, tells all parameters that are wrong at once, and makes up what is
// to be made up. It touches nothing.
func (s *settler) settle(ctx context.Context) error {
	var err error
	if s.dc, err = s.datacenter(ctx); err != nil {
		return err
	}
	faults := schema.Faults{}
	var failed error
	for _, key := range sorted(s.values) {
		text, err := s.value(ctx, key, s.values[key])
		if fault, ok := errors.AsType[*api.Error](err); ok && fault.Params != nil {
			for path, text := range fault.Params {
				faults[path] = text
			}
		} else if err != nil && failed == nil {
			failed = err
		}
		s.values[key] = text
	}
	if len(faults) > 0 {
		return api.ParamError(faults)
	}
	return failed
}

// value returns the value of one option as it is kept.
func (s *settler) value(ctx context.Context, key, text string) (string, error) {
	family, _, _ := schema.Member(key)
	switch {
	case container.IsMountPoint(key):
		return text, s.point(ctx, key, text)
	case family == "net":
		return s.net(text)
	case key == "tags":
		return guest.Tags(text, s.dc.TagStyle), nil
	case key == "nameserver", key == "searchdomain":
		return strings.Join(schema.SplitList(text), " "), nil
	case key == "hookscript":
		return text, s.checkHook(ctx, text)
	}
	return text, nil
}

func (s *settler) point(ctx context.Context, key, text string) error {
	p, err := container.ParsePoint(key, text)
	if err != nil {
		return err
	}
	return s.checkPoint(ctx, p)
}

// net gives a network card an address where it has none, and a type.
func (s *settler) net(text string) (string, error) {
	var n container.Net
	if err := schema.Parse(text, &n); err != nil {
		return "", err
	}
	if n.HWAddr == nil {
		prefix := ""
		if s.dc.MACPrefix != nil {
			prefix = *s.dc.MACPrefix
		}
		mac, err := guest.NewMAC(prefix, s.Random)
		if err != nil {
			return "", err
		}
		n.HWAddr = &mac
	}
	n.Type = new("veth")
	return schema.Print(n), nil
}

// checkHook tells whether a hookscript is one that can be run.
func (s *settler) checkHook(ctx context.Context, volume string) error {
	v, err := id.ParseVolume(volume)
	if err != nil {
		return err
	}
	name, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	if name.Content != storage.Snippets {
		return fmt.Errorf("'%s' is not in the snippets directory", volume)
	}
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return err
	}
	return hook.Script{Volume: volume, Path: path}.Check()
}
