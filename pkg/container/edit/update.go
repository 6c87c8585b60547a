package edit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// An Update is a change of a container's configuration.
type Update struct {
	VM     id.VM
	Values schema.Params // the options to set, as given; left as they are
	Delete []string      // the options to delete
	Revert []string      // the options whose pending change is forgotten
	Digest *string       // of the configuration that the change is based on
}

var (
	errNothing = errors.New("no options specified")
	// errDigest is what upstream says of containers; of VMs it says something else.
	errDigest = errors.New("detected modified configuration - file changed by other user? Try again.") //nolint:staticcheck // upstream's text
)

// check tells what is wrong with the lists of options.
func (u Update) check() error {
	if len(u.Values) == 0 && len(u.Delete) == 0 && len(u.Revert) == 0 {
		return errNothing
	}
	faults := schema.Faults{}
	known := func(list, key string) {
		if f, _ := schema.TypeOf(reflect.TypeFor[container.Config]()).Lookup(key); f == nil {
			faults[list] = fmt.Sprintf("unknown option '%s'", key)
		}
	}
	both := func(list, key, other string) {
		faults[list] = fmt.Sprintf("you can't use '-%s' and -%s %s' at the same time", key, other, key)
	}
	for _, key := range u.Revert {
		known("revert", key)
		if _, set := u.Values[key]; set {
			both("revert", key, "revert")
		}
	}
	for _, key := range u.Delete {
		known("delete", key)
		if _, set := u.Values[key]; set {
			both("delete", key, "delete")
		}
		if slices.Contains(u.Revert, key) {
			both("revert", key, "revert")
		}
	}
	if len(faults) > 0 {
		return api.ParamError(faults)
	}
	return nil
}

// Update changes the configuration of a container. What cannot hold while it runs is
// pending then; of it the error tells what ought to have held.
func (s *Service) Update(ctx context.Context, u Update) error {
	if err := u.check(); err != nil {
		return err
	}
	return s.Locked(ctx, u.VM, "change of CT "+u.VM.String(), func(ctx context.Context) error {
		doc, err := s.Load(ctx, u.VM)
		if err != nil {
			return err
		}
		if err := guest.CheckLock(cluster.Container, doc); err != nil {
			return err
		}
		if guest.CheckDigest(doc, u.Digest) != nil {
			return errDigest
		}
		if err := s.update(ctx, u, doc); err != nil {
			return err
		}
		// What is written may read otherwise.
		if doc, err = s.Load(ctx, u.VM); err != nil {
			return err
		}
		return checkStartable(ctx, doc.Values)
	})
}

// update makes a change, of which the error is what did not work, and saves it.
func (s *Service) update(ctx context.Context, u Update, doc *config.Doc) error {
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	e := editing{Service: s, Update: u, doc: doc, values: maps.Clone(u.Values), undo: undo, touched: map[string]bool{}}
	running, err := s.Running(ctx, u.VM)
	if err != nil {
		return err
	}
	e.revert(ctx)
	for _, step := range []func(context.Context) error{e.delete, e.settle, e.set} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	keys := slices.Sorted(maps.Keys(e.touched))
	guest.CleanPending(doc)
	if running {
		// The container is about to use what was made: it must not go away again.
		if err := s.Save(ctx, u.VM, doc); err != nil {
			return err
		}
		undo.Success()
		failed := s.plug(ctx, u.VM, doc, keys)
		return errors.Join(failed, s.Save(ctx, u.VM, doc))
	}
	failed := s.apply(ctx, u.VM, doc, func(key string) bool { return e.touched[key] })
	if err := s.Save(ctx, u.VM, doc); err != nil {
		return errors.Join(failed, err)
	}
	undo.Success()
	return failed
}

// checkStartable tells why a container could not be started with the given values, which are
// saved all the same: what is missing may be set next.
func checkStartable(ctx context.Context, values schema.Params) error {
	for _, key := range []string{"arch", "ostype"} {
		if values[key] == "" {
			return fmt.Errorf("missing '%s' - internal error", key)
		}
	}
	for _, key := range sorted(values) {
		if family, _, ok := schema.Member(key); !ok || family != "net" {
			continue
		}
		var n container.Net
		if err := schema.Parse(values[key], &n); err != nil {
			return errors.New(strings.TrimSuffix(err.Error(), "\n"))
		}
	}
	warnProfile(ctx, values)
	return nil
}

// warnProfile tells of features that an AppArmor profile of the user's own takes the place
// of.
func warnProfile(ctx context.Context, values schema.Params) {
	var f container.Features
	if values["features"] == "" || schema.Parse(values["features"], &f) != nil {
		return
	}
	for _, line := range container.RawLines(values) {
		if container.CurrentKey(line.Key) != "lxc.apparmor.profile" {
			continue
		}
		var overridden string
		if f.Mount != nil {
			overridden += ", features:mount"
		}
		if f.Nesting != nil && *f.Nesting {
			overridden += ", features:nesting"
		}
		if overridden != "" {
			fmt.Fprintf(api.StreamsOf(ctx).Err, "explicitly configured lxc.apparmor.profile overrides the following settings: %s\n", overridden[2:])
		}
		return
	}
}
