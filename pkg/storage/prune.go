package storage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Keep says which backups of a guest stay when the others go.
type Keep struct {
	All     *bool `pve:"keep-all" doc:"Keep all backups; excludes the other options."`
	Last    *int  `pve:"keep-last" min:"0" hint:"N" doc:"Keep the last N backups."`
	Hourly  *int  `pve:"keep-hourly" min:"0" hint:"N" doc:"Keep the last backup of each of N hours."`
	Daily   *int  `pve:"keep-daily" min:"0" hint:"N" doc:"Keep the last backup of each of N days."`
	Weekly  *int  `pve:"keep-weekly" min:"0" hint:"N" doc:"Keep the last backup of each of N weeks."`
	Monthly *int  `pve:"keep-monthly" min:"0" hint:"N" doc:"Keep the last backup of each of N months."`
	Yearly  *int  `pve:"keep-yearly" min:"0" hint:"N" doc:"Keep the last backup of each of N years."`
}

// Describe makes Keep a standard option.
func (Keep) Describe(s *schema.Schema) {
	s.Verify = func(text string) error {
		var k Keep
		if err := schema.Parse(text, &k); err != nil {
			return err
		}
		return k.Check()
	}
}

// Check fails where options exclude each other.
func (k Keep) Check() error {
	if k.All == nil || !*k.All {
		return nil
	}
	for _, p := range k.periods() {
		if p.keep != nil {
			return errors.New("keep-all cannot be set together with other options.\n")
		}
	}
	return nil
}

// Keep returns which backups the storage keeps, nil where it does not say. The old option
// maxfiles is how many, 0 for all.
func (d Definition) Keep() (*Keep, error) {
	text, given := d.Options["prune-backups"]
	if most, old := d.Options["maxfiles"]; old && !given {
		text, given = "keep-last="+most, true
	}
	if !given {
		return nil, nil
	}
	k := &Keep{}
	if err := schema.Parse(text, k); err != nil {
		return nil, fmt.Errorf("storage '%s': prune-backups: %w", d.ID, err)
	}
	return k, nil
}

// A period is one of the options of [Keep]: how many spans of time to keep a backup
// of, and which span a moment falls into.
type period struct {
	keep *int
	span func(time.Time) string
}

func (k Keep) periods() []period {
	in := func(layout string) func(time.Time) string {
		return func(t time.Time) string { return t.Format(layout) }
	}
	return []period{
		{k.Last, in(time.RFC3339)},
		{k.Hourly, in("2006-01-02 15")},
		{k.Daily, in("2006-01-02")},
		{k.Weekly, func(t time.Time) string { return fmt.Sprint(t.ISOWeek()) }},
		{k.Monthly, in("2006-01")},
		{k.Yearly, in("2006")},
	}
}

// all tells whether nothing is to go.
func (k Keep) all() bool {
	return k.All != nil && *k.All ||
		!slices.ContainsFunc(k.periods(), func(p period) bool { return p.keep != nil && *p.keep > 0 })
}

// A Mark says what becomes of a backup.
type Mark string

// The marks. Protected backups, and those that somebody has named, are never removed and
// do not count.
const (
	MarkKeep      Mark = "keep"
	MarkRemove    Mark = "remove"
	MarkProtected Mark = "protected"
	MarkRenamed   Mark = "renamed"
)

// A Pruned is a backup and what becomes of it.
type Pruned struct {
	Volume
	Type string // qemu, lxc, or unknown
	Mark Mark
}

// Prune decides which backups stay, guest by guest. Days and weeks are those of the given
// zone. The answer is sorted by name.
func Prune(backups []Volume, keep Keep, zone *time.Location) []Pruned {
	marked := make([]Pruned, 0, len(backups))
	groups := map[string][]*Pruned{}
	for _, v := range backups {
		a, _ := ParseArchive(v.Name, zone)
		p := Pruned{Volume: v, Type: a.Type}
		switch {
		case v.Protected:
			p.Mark = MarkProtected
		case !a.Standard:
			p.Mark = MarkRenamed
		case keep.all():
			p.Mark = MarkKeep
		}
		if a.Standard {
			p.Created = a.Created
		}
		marked = append(marked, p)
	}
	for i := range marked {
		if p := &marked[i]; p.Mark == "" {
			group := fmt.Sprint(p.Type, p.Guest)
			groups[group] = append(groups[group], p)
		}
	}
	for _, group := range groups {
		slices.SortFunc(group, func(a, b *Pruned) int { return b.Created.Compare(a.Created) })
		for _, p := range keep.periods() {
			p.mark(group, zone)
		}
		for _, p := range group {
			if p.Mark == "" {
				p.Mark = MarkRemove
			}
		}
	}
	slices.SortFunc(marked, func(a, b Pruned) int { return cmp.Compare(a.Name, b.Name) })
	return marked
}

// mark keeps the last backup of each span, until there are enough. A span that has a
// backup kept for another reason does not need one, nor does it count.
func (p period) mark(group []*Pruned, zone *time.Location) {
	if p.keep == nil {
		return
	}
	served, taken := map[string]bool{}, map[string]bool{}
	for _, b := range group {
		if b.Mark == MarkKeep {
			served[p.span(b.Created.In(zone))] = true
		}
	}
	for _, b := range group {
		span := p.span(b.Created.In(zone))
		switch {
		case b.Mark != "" || served[span]:
		case taken[span]:
			b.Mark = MarkRemove
		case len(taken) >= *p.keep:
			return
		default:
			taken[span], b.Mark = true, MarkKeep
		}
	}
}
