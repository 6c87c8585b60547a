package cloudinit

import (
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// section is where a guest's file keeps the values that are on the CD, where they differ from
// those that hold; options that are not on it yet are listed under the key added.
const section = "cloudinit"

const added = "added"

// hidden stands for a password wherever one would be shown.
const hidden = "**********"

// Affects tells whether an option has a say in what is on the CD.
func Affects(option string) bool {
	if isOwn(option) || option == "name" {
		return true
	}
	family, _, ok := schema.Member(option)
	return ok && (family == "net" || family == "ipconfig")
}

// isOwn tells whether an option is listed among pending ones with its value.
func isOwn(option string) bool {
	switch option {
	case "cicustom", "cipassword", "citype", "ciupgrade", "ciuser", "nameserver", "searchdomain", "sshkeys":
		return true
	}
	return false
}

// A Change is an option of the CD: what is on it, and what will be. Value is nil for an option
// that will be new, Pending for one that stays or will be gone.
type Change struct {
	Key     string  `pve:"key" doc:"Name of the option."`
	Value   *string `pve:"value" doc:"Value on the CD."`
	Pending *string `pve:"pending" doc:"Value that will be on the CD once it is written again."`
	Delete  *int    `pve:"delete" doc:"1 where the option will be gone from the CD." min:"0" max:"1"`
}

// Changes lists the cloud-init options of a guest as qm cloudinit pending shows them: the ones
// that are new, the ones that are set, then those that are gone, each by name.
func Changes(d *config.Doc) []Change {
	old := d.Special[section]
	list := []Change{}
	isNew := map[string]bool{}
	for _, key := range slices.Sorted(slices.Values(schema.SplitList(old[added]))) {
		isNew[key] = true
		if value, ok := d.Values[key]; ok {
			list = append(list, Change{Key: key, Pending: shown(key, value)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(d.Values)) {
		value := d.Values[key]
		if !isOwn(key) || isNew[key] || value == "" || value == "0" {
			continue
		}
		if onDisc, ok := old[key]; ok {
			list = append(list, Change{Key: key, Value: shown(key, onDisc), Pending: shown(key, value)})
		} else {
			list = append(list, Change{Key: key, Value: shown(key, value)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(old)) {
		if _, ok := d.Values[key]; !ok && key != added {
			list = append(list, Change{Key: key, Delete: new(1)})
		}
	}
	return list
}

func shown(key, value string) *string {
	if key == "cipassword" {
		return new(hidden)
	}
	return &value
}

// HasChanges tells whether options have changed since the CD was written.
func HasChanges(d *config.Doc) bool { return len(d.Special[section]) > 0 }

// Written notes that the CD has been written with the options that hold now.
func Written(d *config.Doc) { delete(d.Special, section) }

// Record notes that an option of a running guest changes from old to new, nil for not set: the
// CD stays as it is until it is written again. d.Values is not looked at.
func Record(d *config.Doc, option string, old, next *string) {
	if !Affects(option) || (old == nil && next == nil) || (old != nil && next != nil && *old == *next) {
		return
	}
	kept := maps.Clone(d.Special[section])
	if kept == nil {
		kept = schema.Params{}
	}
	fresh := schema.SplitList(kept[added])
	isNew := slices.Contains(fresh, option)
	onDisc, differs := kept[option]
	switch {
	case differs:
		if next != nil && *next == onDisc { // back to what is on the CD
			delete(kept, option)
		}
	case isNew:
		if next == nil {
			fresh = slices.DeleteFunc(fresh, func(o string) bool { return o == option })
		}
	case old == nil:
		fresh = append(fresh, option)
	default:
		kept[option] = *old
	}
	delete(kept, added)
	if len(fresh) > 0 {
		slices.Sort(fresh)
		kept[added] = strings.Join(fresh, ",")
	}
	if d.Special == nil {
		d.Special = map[string]schema.Params{}
	}
	if d.Special[section] = kept; len(kept) == 0 {
		delete(d.Special, section)
	}
}
