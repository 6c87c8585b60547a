package destroy

import (
	"context"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// cronFile is where backup jobs were before there were jobs of other kinds.
const cronFile = "vzdump.cron"

// checkReferences refuses a VM that high availability or a replication job looks after.
func (s *Service) checkReferences(ctx context.Context, vmid id.VM) error {
	resources, err := s.sections(ctx, cluster.HAResourceFile)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(resources, func(r section) bool { return r.kind == "vm" && r.name == vmid.String() }) {
		return errUsed(vmid)
	}
	jobs, err := s.sections(ctx, cluster.ReplicationFile)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if isOf(job, vmid) {
			return &ReplicatedError{Job: job.name, VM: vmid}
		}
	}
	return nil
}

// A ReplicatedError says that a replication job copies a guest.
type ReplicatedError struct {
	Job string
	VM  id.VM
}

func (e *ReplicatedError) Error() string {
	return "There is a replication job '" + e.Job + "' for guest '" + e.VM.String() + "' - Please remove that first."
}

// isOf tells whether a replication job, whose name begins with the guest's number, is
// of a guest.
func isOf(job section, vmid id.VM) bool {
	number, _, _ := strings.Cut(job.name, "-")
	return number == vmid.String()
}

func (s *Service) sections(ctx context.Context, name string) ([]section, error) {
	text, err := s.Cluster.ReadOptional(ctx, name)
	return parseSections(string(text)), err
}

// purge takes a VM out of jobs and of what high availability looks after.
func (s *Service) purge(ctx context.Context, vmid id.VM) error {
	tell(ctx, "purging VM %s from related configurations..\n", vmid)
	if err := s.changeSections(ctx, cluster.ReplicationFile, "file-replication_cfg", func(all []section) ([]section, bool) {
		return without(all, func(job section) bool { return isOf(job, vmid) })
	}); err != nil {
		return err
	}
	if err := s.purgeBackups(ctx, vmid); err != nil {
		return err
	}
	return s.purgeHA(ctx, vmid)
}

// changeSections lets fn change a file, under its lock. It is written where fn says so.
func (s *Service) changeSections(ctx context.Context, name, lock string, fn func([]section) ([]section, bool)) error {
	return s.locked(ctx, lock, func(ctx context.Context) error {
		all, err := s.sections(ctx, name)
		if err != nil {
			return err
		}
		all, changed := fn(all)
		if !changed {
			return nil
		}
		return s.Cluster.WriteFile(ctx, name, []byte(printSections(all)))
	})
}

func (s *Service) locked(ctx context.Context, name string, fn func(context.Context) error) error {
	return s.Cluster.WithLock(ctx, name, file.LockOptions{Patience: cluster.Patience, What: name}, fn)
}

func without(all []section, gone func(section) bool) ([]section, bool) {
	kept := slices.DeleteFunc(slices.Clone(all), gone)
	return kept, len(kept) != len(all)
}

// purgeBackups takes a VM out of the backup jobs. One that is left without guests goes.
func (s *Service) purgeBackups(ctx context.Context, vmid id.VM) error {
	err := s.changeSections(ctx, cluster.JobsFile, "file-jobs_cfg", func(all []section) ([]section, bool) {
		changed := false
		kept := all[:0:0]
		for _, job := range all {
			gone := false
			for _, key := range []string{"vmid", "exclude"} {
				rest, found := drop(job.get(key), vmid.String())
				if !found || job.kind != "vzdump" {
					continue
				}
				changed = true
				switch {
				case rest != "":
					job.set(key, rest)
				case key == "vmid":
					gone = true // else it would back up nothing, or everything
				default:
					job.options = slices.DeleteFunc(job.options, func(o option) bool { return o.key == key })
				}
			}
			if !gone {
				kept = append(kept, job)
			}
		}
		return kept, changed
	})
	if err != nil {
		return err
	}
	return s.locked(ctx, "file-vzdump_cron", func(ctx context.Context) error {
		text, err := s.Cluster.ReadOptional(ctx, cronFile)
		if err != nil {
			return err
		}
		return s.Cluster.WriteFile(ctx, cronFile, []byte(purgeCron(string(text), vmid.String())))
	})
}

// cronHead is how the file of the old backup jobs begins.
const cronHead = "# cluster wide vzdump cron schedule\n# Automatically generated file - do not edit\n\nPATH=\"/usr/sbin:/usr/bin:/sbin:/bin\"\n\n"

// purgeCron takes a guest out of the old backup jobs. One that is left without guests
// goes.
func purgeCron(text, vmid string) string {
	jobs := ""
	for line := range strings.Lines(text) {
		if before, after, ok := strings.Cut(line, " vzdump "); ok && !strings.HasPrefix(line, "#") {
			if line = purgeJob(before, after, vmid); line == "" {
				continue
			}
			jobs += line
		}
	}
	return cronHead + jobs
}

func purgeJob(before, after, vmid string) string {
	words := strings.Fields(after)
	named, kept := 0, words[:0:0]
	for i, word := range words {
		number := strings.Trim(word, "0123456789") == "" && (i == 0 || !strings.HasPrefix(words[i-1], "-"))
		if number && word == vmid {
			named++
			continue
		}
		kept = append(kept, word)
	}
	if named > 0 && (len(kept) == 0 || strings.Trim(kept[0], "0123456789") != "") {
		return ""
	}
	return before + " vzdump " + strings.Join(kept, " ") + "\n"
}

// purgeHA takes a VM out of what high availability looks after, and out of its rules. A
// rule that is left without resources goes.
func (s *Service) purgeHA(ctx context.Context, vmid id.VM) error {
	return s.locked(ctx, "ha", func(ctx context.Context) error {
		resources, err := s.sections(ctx, cluster.HAResourceFile)
		if err != nil {
			return err
		}
		kept, found := without(resources, func(r section) bool { return r.kind == "vm" && r.name == vmid.String() })
		if !found {
			return nil
		}
		rules, err := s.sections(ctx, cluster.HARulesFile)
		if err != nil {
			return err
		}
		if err := s.Cluster.WriteFile(ctx, cluster.HARulesFile, []byte(printRules(rules, vmid))); err != nil {
			return err
		}
		if err := s.Cluster.WriteFile(ctx, cluster.HAResourceFile, []byte(printSections(kept))); err != nil {
			return err
		}
		tell(ctx, "NOTE: removed VM %s from HA resource configuration.\n", vmid)
		return nil
	})
}

func printRules(rules []section, vmid id.VM) string {
	kept := rules[:0:0]
	for _, rule := range rules {
		list, found := drop(rule.get("resources"), "vm:"+vmid.String())
		if found && list == "" {
			continue
		}
		if found {
			rule.set("resources", list)
		}
		kept = append(kept, rule)
	}
	return printSections(kept)
}
