package edit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/guest/account"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// settler brings what a caller gives into the form that is kept.
type settler struct {
	*Service
	vmid    id.VM
	values  schema.Params // changed in place
	storage id.Storage    // for new volumes that name none
	ostype  string
	hook    bool // check that the hookscript can run
	dc      *cluster.Datacenter
	faults  schema.Faults
}

// settle checks all values, tells all that is wrong with them at once, and makes up
// what is to be made up. It touches nothing.
func (s *settler) settle(ctx context.Context) error {
	var err error
	if s.dc, err = s.datacenter(ctx); err != nil {
		return err
	}
	s.faults = schema.Faults{}
	s.cdrom()
	var failed error
	for _, key := range sorted(s.values) {
		err := s.value(ctx, key)
		if fault, ok := errors.AsType[*api.Error](err); ok && fault.Params != nil {
			for path, text := range fault.Params {
				s.faults[path] = text
			}
		} else if err != nil && failed == nil {
			failed = err
		}
	}
	if len(s.faults) > 0 {
		return api.ParamError(s.faults)
	}
	return failed
}

// cdrom puts the value of cdrom under ide2, which it is another name of.
func (s *settler) cdrom() {
	text, ok := s.values["cdrom"]
	if !ok {
		return
	}
	if !strings.Contains(text, "media=") {
		text += ",media=cdrom"
	}
	if same, both := s.values["ide2"]; both && same != text && same+",media=cdrom" != text {
		s.faults["cdrom"] = "option conflicts with 'ide2'"
	}
	s.values["ide2"] = text
	delete(s.values, "cdrom")
}

// value brings the value of one option into the form that is kept.
func (s *settler) value(ctx context.Context, key string) (err error) {
	text := s.values[key]
	set := func(made string, err error) error {
		if err == nil {
			s.values[key] = made
		}
		return err
	}
	family, _, _ := schema.Member(key)
	switch {
	case qemu.IsDriveKey(key):
		return set(s.drive(ctx, key, text))
	case family == "net":
		return set(s.net(text))
	case key == "vmgenid" && text == "1":
		s.values[key] = s.UUID()
	case key == "cipassword":
		return set(s.password(text))
	case key == "sshkeys":
		return checkSSHKeys(text)
	case key == "tags":
		s.values[key] = guest.Tags(text, s.dc.TagStyle)
	case key == "cpu":
		return s.cpu(ctx, text)
	case key == "hookscript" && s.hook:
		return s.checkHook(ctx, text)
	}
	return nil
}

// net gives a network card an address where it has none.
func (s *settler) net(text string) (string, error) {
	var n qemu.Net
	if err := schema.Parse(text, &n); err != nil {
		return "", err
	}
	if n.MAC == nil {
		prefix := ""
		if s.dc.MACPrefix != nil {
			prefix = *s.dc.MACPrefix
		}
		mac, err := guest.NewMAC(prefix, s.Random)
		if err != nil {
			return "", err
		}
		n.MAC = &mac
	}
	return schema.Print(n), nil
}

// password hashes a password, save those for Windows, which needs it itself.
func (s *settler) password(text string) (string, error) {
	if strings.HasPrefix(s.ostype, "w") {
		return text, nil
	}
	return account.HashPassword(text, s.Random)
}

func (s *settler) cpu(ctx context.Context, text string) error {
	var c qemu.CPU
	if err := schema.Parse(text, &c); err != nil {
		return nil //nolint:nilerr // the schema has told of it
	}
	if err := checkFlags(c); err != nil || c.Type == nil {
		return err
	}
	name, custom := qemu.CustomCPU(*c.Type)
	if !custom {
		return nil
	}
	known, err := s.customCPU(ctx, name)
	if err == nil && !known {
		err = api.BadParam("cpu", "invalid format - Custom cputype '%s' not found\n", name)
	}
	return err
}

// checkFlags refuses flags that only custom models may set: on a VM they would be left
// out when it starts.
func checkFlags(c qemu.CPU) error {
	if c.Flags == nil {
		return nil
	}
	allowed := qemu.CPUFlags()
	for flag := range strings.SplitSeq(*c.Flags, ";") {
		if len(flag) > 1 && !slices.Contains(allowed, flag[1:]) {
			return api.BadParam("cpu", "invalid format - VM-specific CPU flags must be a subset of: %s\n", strings.Join(allowed, ", "))
		}
	}
	return nil
}

func (s *settler) checkHook(ctx context.Context, volume string) error {
	err := func() error {
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
	}()
	if err != nil {
		return api.BadParam("hookscript", "%s\n", err)
	}
	return nil
}

// checkSSHKeys checks public keys, one a line, as far as their form goes. Nobody
// could log in with one that is broken, and cloud-init does not say so.
func checkSSHKeys(text string) error {
	plain, err := url.PathUnescape(text)
	if err != nil {
		return api.BadParam("sshkeys", "invalid format - %s\n", err)
	}
	if err := account.CheckSSHKeys(plain); err != nil {
		return &api.Error{Status: http.StatusBadRequest, Message: err.Error()}
	}
	return nil
}
