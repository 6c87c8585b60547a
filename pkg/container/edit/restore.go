package edit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/restore"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// restore makes the container from a backup.
func (n *newcomer) restore(ctx context.Context) error {
	api.Printf(ctx, "recovering backed-up configuration from '%s'\n", n.Archive)
	return n.open(ctx, func(unpack.Kind) error {
		template, err := n.recover(ctx)
		if err != nil {
			return err
		}
		if err := n.makeVolumes(ctx); err != nil {
			return err
		}
		if err := n.fill(ctx, n.refill); err != nil {
			return err
		}
		n.template = template
		return n.finish(ctx)
	})
}

// recover takes what the backup says of the container. What was given counts more.
func (n *newcomer) recover(ctx context.Context) (template bool, err error) {
	backup, err := restore.Read(ctx, n.source, n.unpackOptions())
	if err != nil {
		return false, err
	}
	doc, err := backup.Doc(n.VM, func(fault string) { api.Warnf(ctx, "%s", fault) })
	if err != nil {
		return false, err
	}
	if _, given := n.values["unprivileged"]; !given {
		n.values["unprivileged"] = doc.Values["unprivileged"]
	}
	merge := restore.Merge{Unique: n.Unique, NewMAC: func() (string, error) { return n.newMAC(ctx) }}
	if _, err := merge.Into(n.values, doc.Values); err != nil {
		return false, err
	}
	if n.points[container.Root] == "" {
		planned, err := restore.Plan(doc.Values, n.storage(), true)
		if err != nil {
			return false, err
		}
		for _, warning := range planned.Warnings {
			api.Warnf(ctx, "%s", warning)
		}
		for _, key := range planned.Empty {
			api.Warnf(ctx, "%s was not part of the backup: it comes back empty", key)
		}
		n.points, n.later = planned.New, planned.Delayed
	}
	return guest.IsTemplate(doc), nil
}

func (n *newcomer) newMAC(ctx context.Context) (string, error) {
	dc, err := n.datacenter(ctx)
	if err != nil {
		return "", err
	}
	prefix := ""
	if dc.MACPrefix != nil {
		prefix = *dc.MACPrefix
	}
	return guest.NewMAC(prefix, n.Random)
}

// refill unpacks the files of the backup into the mounted root.
func (n *newcomer) refill(ctx context.Context, root string) error {
	api.Printf(ctx, "restoring '%s' now..\n", n.Archive)
	if err := n.unpack(ctx, unpack.Backup, root); err != nil {
		return err
	}
	api.Printf(ctx, "merging backed-up and given configuration..\n")
	if p := plan.From(ctx); p != nil {
		return nil
	}
	return n.inside(root, func(r *rootfs.Root) error {
		rules, err := restore.TakeOut(r)
		if err != nil {
			return err
		}
		n.detectArch(ctx, r)
		if n.values["ostype"] == "" {
			if _, err := n.distribution(ctx, r); err != nil {
				return err
			}
		}
		return n.restoreFirewall(ctx, rules)
	})
}

// restoreFirewall writes the rules of the backup, where it has any.
func (n *newcomer) restoreFirewall(ctx context.Context, rules []byte) error {
	if rules == nil {
		return nil
	}
	name := cluster.FirewallFile(n.VM)
	before, err := n.Cluster.ReadOptional(ctx, name)
	if err != nil {
		return err
	}
	existed := n.Cluster.Exists(ctx, name)
	n.undo.Add("restore "+name, func(ctx context.Context) error {
		if existed {
			return n.Cluster.WriteFile(ctx, name, before)
		}
		return n.Cluster.Remove(ctx, name)
	})
	return n.Cluster.WriteFile(ctx, name, rules)
}

// asTemplate makes the container a template again, where the backup is of one. What cannot
// become one is a container all the same.
func (n *newcomer) asTemplate(ctx context.Context) {
	if !n.template || plan.From(ctx) != nil {
		return
	}
	api.Printf(ctx, "Convert restored container to template...\n")
	if err := n.Volumes.Template(ctx, n.VM); err != nil {
		api.Warnf(ctx, "the backup is of a template, but the container cannot become one: %v", err)
	}
}

// noteUnused notes the volumes of mount points as unused: they are there, but what they hold
// is not complete, or not wanted any more.
func noteUnused(values, points schema.Params) {
	for _, key := range sorted(points) {
		volume := container.VolumeOf(points[key])
		if container.KindOfSource(volume) == container.VolumeSource && id.IsVolume(volume) {
			_, _ = guest.AddUnused(values, volume) // should there be 256 already, they are found by their names
		}
	}
}

// replaced lists the volumes of a container that a backup came in the place of.
func (n *newcomer) replaced(ctx context.Context) []id.Volume {
	if n.old == nil {
		return nil
	}
	kept := map[string]bool{}
	for _, v := range container.Volumes(n.points) {
		kept[v.ID] = true
	}
	var all []id.Volume
	sections := []schema.Params{n.old.Values, n.old.Pending}
	for _, values := range n.old.Snapshots {
		sections = append(sections, values)
	}
	for _, values := range sections {
		for key, value := range values {
			volume := container.VolumeOf(value)
			if (container.IsMountPoint(key) || guest.IsUnused(key)) && !kept[volume] {
				if v, ok := n.owned(ctx, n.VM, volume); ok {
					kept[volume] = true
					all = append(all, v)
				}
			}
		}
	}
	return all
}

// clearOld removes the volumes of the container that a backup came in the place of. It is done
// last: up to here the old one was whole.
func (n *newcomer) clearOld(ctx context.Context) error {
	gone := n.replaced(ctx)
	if len(gone) == 0 {
		return nil
	}
	var failed []string
	freed := map[string]bool{}
	for _, v := range gone {
		if err := n.Host.Storage.Free(ctx, v); err != nil && !errors.Is(err, storage.ErrNotExist) {
			api.Warnf(ctx, "Could not remove disk '%s', check manually: %v", v, err)
			failed = append(failed, v.String())
			continue
		}
		freed[v.String()] = true
	}
	err := n.Change(ctx, n.VM, "removal of what was there before", func(_ context.Context, doc *config.Doc) error {
		for key, value := range doc.Values {
			if guest.IsUnused(key) && freed[container.VolumeOf(value)] {
				delete(doc.Values, key)
			}
		}
		return nil
	})
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("CT %s is restored, but volumes of the one before are left: %s", n.VM, strings.Join(failed, ", "))
	}
	return err
}
