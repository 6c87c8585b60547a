package guest

import (
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// deleteKey holds, among the pending changes, the options that will be gone.
const deleteKey = "delete"

// ParseDelete reads the list of options that will be gone. The value tells whether what the
// option names is destroyed with it, which the list says by an exclamation mark.
func ParseDelete(text string) map[string]bool {
	list := map[string]bool{}
	for _, word := range schema.SplitList(text) {
		name, force := strings.CutPrefix(word, "!")
		if name != "" {
			list[name] = force
		}
	}
	return list
}

// PrintDelete is the inverse of [ParseDelete].
func PrintDelete(list map[string]bool) string {
	words := slices.Sorted(maps.Keys(list))
	for i, name := range words {
		if list[name] {
			words[i] = "!" + name
		}
	}
	return strings.Join(words, ",")
}

// PendingDeletes returns the options of doc that will be gone.
func PendingDeletes(doc *config.Doc) map[string]bool { return ParseDelete(doc.Pending[deleteKey]) }

func setDeletes(doc *config.Doc, list map[string]bool) {
	if len(list) == 0 {
		delete(doc.Pending, deleteKey)
		return
	}
	setPending(doc, deleteKey, PrintDelete(list))
}

func setPending(doc *config.Doc, key, value string) {
	if doc.Pending == nil {
		doc.Pending = schema.Params{}
	}
	doc.Pending[key] = value
}

// AddPending notes a value that will hold.
func AddPending(doc *config.Doc, key, value string) {
	setPending(doc, key, value)
	list := PendingDeletes(doc)
	if _, both := list[key]; both {
		delete(list, key)
		setDeletes(doc, list)
	}
}

// AddDelete notes that an option will be gone.
func AddDelete(doc *config.Doc, key string, force bool) {
	list := PendingDeletes(doc)
	list[key] = force
	delete(doc.Pending, key)
	setDeletes(doc, list)
}

// Revert forgets the change of an option that waits. It tells whether there was one.
func Revert(doc *config.Doc, key string) bool {
	_, changed := doc.Pending[key]
	delete(doc.Pending, key)
	list := PendingDeletes(doc)
	if _, gone := list[key]; gone {
		delete(list, key)
		setDeletes(doc, list)
		changed = true
	}
	return changed
}

// CleanPending forgets the changes that would change nothing. It tells whether there
// were any.
func CleanPending(doc *config.Doc) (changed bool) {
	for key, value := range doc.Pending {
		if now, ok := doc.Values[key]; ok && now == value {
			delete(doc.Pending, key)
			changed = true
		}
	}
	list := PendingDeletes(doc)
	for key := range list {
		if _, ok := doc.Values[key]; !ok {
			delete(list, key)
			changed = true
		}
	}
	setDeletes(doc, list)
	return changed
}

// A Change is an option as it is and as it will be.
type Change struct {
	Key     string
	Value   *string // what holds, nil where nothing does
	Pending *string // what will hold, nil where that does not change
	Delete  bool    // it will be gone
	Force   bool    // and what it names will be destroyed
}

// Changes lists the options of doc by name, with what is to become of them.
func Changes(doc *config.Doc) []Change {
	deletes := PendingDeletes(doc)
	keys := map[string]bool{}
	for _, some := range []schema.Params{doc.Values, doc.Pending} {
		for key := range some {
			keys[key] = true
		}
	}
	for key := range deletes {
		keys[key] = true
	}
	delete(keys, deleteKey)
	list := make([]Change, 0, len(keys))
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		change := Change{Key: key}
		if value, ok := doc.Values[key]; ok {
			change.Value = &value
		}
		if value, ok := doc.Pending[key]; ok {
			change.Pending = &value
		}
		change.Force, change.Delete = deletes[key]
		list = append(list, change)
	}
	return list
}

// Merged returns the values of doc as they will be when all changes hold.
func Merged(doc *config.Doc) schema.Params {
	values := maps.Clone(doc.Values)
	maps.Copy(values, doc.Pending)
	delete(values, deleteKey)
	for key := range PendingDeletes(doc) {
		delete(values, key)
	}
	return values
}
