package edit

import (
	"context"
	"errors"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/guest/account"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// inside opens the mounted root while fn runs.
func (n *newcomer) inside(root string, fn func(*rootfs.Root) error) error {
	ids, err := volumes.IDs(n.values)
	if err != nil {
		return err
	}
	uid, gid, err := ids.Root()
	if err != nil {
		return err
	}
	r, err := rootfs.Open(root, rootfs.Owner{UID: int(uid), GID: int(gid)})
	if err != nil {
		return err
	}
	defer r.Close()
	return fn(r)
}

// setUp finds out what was unpacked, and makes it what the options say.
func (n *newcomer) setUp(ctx context.Context, root string) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("set up the distribution in %s", root)
		return nil
	}
	hash := ""
	if n.Password != "" {
		var err error
		if hash, err = account.HashPassword(n.Password, n.Random); err != nil {
			return err
		}
	}
	return n.inside(root, func(r *rootfs.Root) error {
		n.detectArch(ctx, r)
		s, err := n.distribution(ctx, r)
		if err != nil {
			return err
		}
		return s.PostCreate(ctx, setup.Account{Hash: hash, SSHKeys: n.SSHKeys})
	})
}

// distribution finds out which distribution was unpacked.
func (n *newcomer) distribution(ctx context.Context, r *rootfs.Root) (*setup.Setup, error) {
	values := clone(n.values, n.points)
	defaults(n.VM, values)
	env := n.Setup(ctx)
	s, err := setup.Open(r, container.Typed(values), env)
	if errors.Is(err, setup.ErrUnknown) && n.values["entrypoint"] != "" {
		// What runs one program needs no distribution.
		values["ostype"] = setup.Unmanaged
		s, err = setup.Open(r, container.Typed(values), env)
	}
	if err != nil {
		return nil, err
	}
	if n.values["ostype"] == "" {
		n.values["ostype"] = s.OSType()
	}
	return s, nil
}

// detectArch finds out for which architecture the programs are that were unpacked.
func (n *newcomer) detectArch(ctx context.Context, r *rootfs.Root) {
	if n.values["arch"] != "" {
		return
	}
	arch, err := setup.DetectArch(r)
	if err != nil {
		arch = "amd64"
		api.Warnf(ctx, "Architecture detection failed: %v", err)
		api.Printf(ctx, "Falling back to %s.\nUse `pct set %d --arch ARCH` to change.\n", arch, n.VM)
	} else {
		api.Printf(ctx, "Detected container architecture: %s\n", arch)
	}
	n.values["arch"] = arch
}

// asImage gives the container the options that its image has; those that are given count more.
func (n *newcomer) asImage(ctx context.Context, image *unpack.Image, root string) error {
	if plan.From(ctx) != nil {
		return nil
	}
	return n.inside(root, func(r *rootfs.Root) error {
		s := image.Settings(func(name string) ([]byte, error) { return r.ReadFile(name, maxNames) })
		for _, warning := range s.Warnings {
			api.Warnf(ctx, "%s", warning)
		}
		for key, value := range s.Options {
			if given := n.values[key]; key == "env" && given != "" {
				n.values[key] = mergeEnv(value, given)
			} else if given == "" {
				n.values[key] = value
			}
		}
		container.SetRawLines(n.values, append(container.RawLines(n.values), s.Lines...))
		if s.HostManaged {
			return hostManaged(n.values)
		}
		return nil
	})
}

// maxNames is the most of passwd and group that is read to find a user of an image.
const maxNames = 1 << 20

// mergeEnv returns the variables of an image and those given, which count more.
func mergeEnv(image, given string) string {
	names := map[string]bool{}
	for variable := range strings.SplitSeq(given, "\x00") {
		name, _, _ := strings.Cut(variable, "=")
		names[name] = true
	}
	var all []string
	for variable := range strings.SplitSeq(image, "\x00") {
		if name, _, _ := strings.Cut(variable, "="); !names[name] {
			all = append(all, variable)
		}
	}
	return strings.Join(append(all, given), "\x00")
}

// hostManaged has the host set up the cards of which nothing else is said.
func hostManaged(values schema.Params) error {
	for _, key := range sorted(values) {
		if family, _, ok := schema.Member(key); !ok || family != "net" {
			continue
		}
		var card container.Net
		if err := schema.Parse(values[key], &card); err != nil {
			return err
		}
		if card.HostManaged == nil {
			card.HostManaged = new(true)
			values[key] = schema.Print(card)
		}
	}
	return nil
}
