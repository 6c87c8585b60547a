package purge

import (
	"context"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
)

// cronFile is where backup jobs were before there were jobs of other kinds.
const cronFile = "vzdump.cron"

// purgeBackups takes a guest out of the backup jobs. One that is left without guests goes.
func purgeBackups(ctx context.Context, c *cluster.Client, vmid string) error {
	err := locked(ctx, c, "file-jobs_cfg", func(ctx context.Context) error {
		jobs, _, err := read(ctx, c, cluster.JobsFile)
		if err != nil || !purgeJobs(jobs, vmid) {
			return err
		}
		return write(ctx, c, cluster.JobsFile, jobs)
	})
	if err != nil {
		return err
	}
	return locked(ctx, c, "file-vzdump_cron", func(ctx context.Context) error {
		text, err := c.ReadOptional(ctx, cronFile)
		if err != nil {
			return err
		}
		return c.WriteFile(ctx, cronFile, []byte(purgeCron(string(text), vmid)))
	})
}

func purgeJobs(jobs *config.SectionDoc, vmid string) (changed bool) {
	drop(jobs, func(job *config.Section) (gone bool) {
		if job.Type != "vzdump" {
			return false
		}
		for _, key := range []string{"vmid", "exclude"} {
			rest, found := without(job.Values[key], vmid)
			if !found {
				continue
			}
			changed = true
			switch {
			case rest != "":
				job.Values[key] = rest
			case key == "vmid":
				gone = true // else it would back up nothing, or everything
			default:
				delete(job.Values, key)
			}
		}
		return gone
	})
	return changed
}

// cronHead is how the file of the old backup jobs begins.
const cronHead = "# cluster wide vzdump cron schedule\n# Automatically generated file - do not edit\n\nPATH=\"/usr/sbin:/usr/bin:/sbin:/bin\"\n\n"

// purgeCron takes a guest out of the old backup jobs. One that is left without guests
// goes.
func purgeCron(text, vmid string) string {
	jobs := ""
	for line := range strings.Lines(text) {
		if before, after, ok := strings.Cut(line, " vzdump "); ok && !strings.HasPrefix(line, "#") {
			if line = purgeCronJob(before, after, vmid); line == "" {
				continue
			}
			jobs += line
		}
	}
	return cronHead + jobs
}

func purgeCronJob(before, after, vmid string) string {
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
