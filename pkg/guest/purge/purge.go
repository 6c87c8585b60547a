// Package purge looks after the places outside of a guest's configuration that name it:
// its pool and the rights on it, backup and replication jobs, and high availability.
package purge

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A Guest is the one that goes away.
type Guest struct {
	Kind cluster.Kind
	ID   id.VM
}

// String returns what messages call the guest: VM 100.
func (g Guest) String() string { return g.Kind.Short() + " " + g.ID.String() }

// resource is what high availability calls the guest: vm:100.
func (g Guest) resource() (kind, name string) {
	return strings.ToLower(g.Kind.Short()), g.ID.String()
}

// isResource tells whether a section of high availability's file is the guest's.
func (g Guest) isResource(s *config.Section) bool {
	kind, name := g.resource()
	return s.Type == kind && s.ID == name
}

// isReplicated tells whether a replication job, whose name begins with the guest's number,
// is the guest's.
func (g Guest) isReplicated(job *config.Section) bool {
	number, _, _ := strings.Cut(job.ID, "-")
	return number == g.ID.String()
}

// A ReplicatedError says that a replication job copies a guest.
type ReplicatedError struct {
	Job   string
	Guest id.VM
}

func (e *ReplicatedError) Error() string {
	return "There is a replication job '" + e.Job + "' for guest '" + e.Guest.String() + "' - Please remove that first."
}

// Check refuses a guest that high availability or a replication job looks after.
func Check(ctx context.Context, c *cluster.Client, g Guest) error {
	resources, _, err := read(ctx, c, cluster.HAResourceFile)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(resources.Sections, g.isResource) {
		return errors.New("unable to remove " + g.String() + " - used in HA resources and purge parameter not set.") //nolint:staticcheck // upstream's text
	}
	jobs, _, err := read(ctx, c, cluster.ReplicationFile)
	if err != nil {
		return err
	}
	for _, job := range jobs.Sections {
		if g.isReplicated(job) {
			return &ReplicatedError{Job: job.ID, Guest: g.ID}
		}
	}
	return nil
}

// Leave takes a guest out of its pool, and the rights on it away.
func Leave(ctx context.Context, c *cluster.Client, vmid id.VM) error {
	return access.Change(ctx, c, func(r *access.Rights) error {
		if !r.RemoveGuest(vmid) {
			return access.ErrUnchanged
		}
		return nil
	})
}

// Jobs takes a guest out of jobs and of what high availability looks after.
func Jobs(ctx context.Context, c *cluster.Client, g Guest) error {
	tell(ctx, "purging %s from related configurations..\n", g)
	if err := purgeReplication(ctx, c, g); err != nil {
		return err
	}
	if err := purgeBackups(ctx, c, g.ID.String()); err != nil {
		return err
	}
	return purgeHA(ctx, c, g)
}

// dialect reads all sections of a file, whatever their types and options are.
func dialect() *config.Sections { return &config.Sections{KeepUnknown: true} }

// read reads a file made of sections, which may be absent.
func read(ctx context.Context, c *cluster.Client, name string) (doc *config.SectionDoc, text []byte, err error) {
	text, err = c.ReadOptional(ctx, name)
	return dialect().Parse(name, text, nil), text, err
}

// write writes a file made of sections: of each the comment first, the other options by
// name.
func write(ctx context.Context, c *cluster.Client, name string, doc *config.SectionDoc) error {
	for _, s := range doc.Sections {
		s.Order = nil
	}
	text, err := dialect().Print(doc)
	if err != nil {
		return err
	}
	return c.WriteFile(ctx, name, text)
}

// drop removes the sections that gone tells. It tells whether there were any.
func drop(doc *config.SectionDoc, gone func(*config.Section) bool) bool {
	before := len(doc.Sections)
	doc.Sections = slices.DeleteFunc(doc.Sections, gone)
	return len(doc.Sections) != before
}

func purgeReplication(ctx context.Context, c *cluster.Client, g Guest) error {
	return locked(ctx, c, "file-replication_cfg", func(ctx context.Context) error {
		jobs, text, err := read(ctx, c, cluster.ReplicationFile)
		if err != nil {
			return err
		}
		// One that is absent is made, as upstream does.
		if !drop(jobs, g.isReplicated) && len(text) > 0 {
			return nil
		}
		return write(ctx, c, cluster.ReplicationFile, jobs)
	})
}

// purgeHA takes a guest out of what high availability looks after, and out of its rules. A
// rule that is left without resources goes.
func purgeHA(ctx context.Context, c *cluster.Client, g Guest) error {
	return locked(ctx, c, "ha", func(ctx context.Context) error {
		resources, _, err := read(ctx, c, cluster.HAResourceFile)
		if err != nil || !drop(resources, g.isResource) {
			return err
		}
		rules, _, err := read(ctx, c, cluster.HARulesFile)
		if err != nil {
			return err
		}
		kind, name := g.resource()
		drop(rules, func(rule *config.Section) bool {
			rest, found := without(rule.Values["resources"], kind+":"+name)
			if found {
				rule.Values["resources"] = rest
			}
			return found && rest == ""
		})
		if err := write(ctx, c, cluster.HARulesFile, rules); err != nil {
			return err
		}
		if err := write(ctx, c, cluster.HAResourceFile, resources); err != nil {
			return err
		}
		tell(ctx, "NOTE: removed %s from HA resource configuration.\n", g)
		return nil
	})
}

func locked(ctx context.Context, c *cluster.Client, name string, fn func(context.Context) error) error {
	return c.WithLock(ctx, name, file.LockOptions{Patience: cluster.Patience, What: name}, fn)
}

// without takes a word out of a list. It tells whether it was there.
func without(list, word string) (rest string, found bool) {
	words := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(",; \t", r) })
	kept := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == word })
	return strings.Join(kept, ","), len(kept) != len(words)
}

// tell tells the user of a step, which a dry run does not take.
func tell(ctx context.Context, format string, args ...any) {
	if plan.From(ctx) == nil {
		api.Printf(ctx, format, args...)
	}
}
