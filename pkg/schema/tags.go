package schema

import (
	"reflect"
	"strconv"
	"strings"
)

// tags are the words of a struct tag by their keys. To take a tag apart once is many
// times cheaper than to look through it for each key.
type tags map[string]string

// Get returns the word of a key, empty where there is none.
func (t tags) Get(key string) string { return t[key] }

// Lookup returns the word of a key, and whether there is one.
func (t tags) Lookup(key string) (word string, ok bool) {
	word, ok = t[key]
	return word, ok
}

// readTags takes a struct tag apart. The rest of a malformed one is left out, as
// reflect does; go vet tells of it.
func readTags(tag reflect.StructTag) tags {
	t := tags{}
	for rest := strings.TrimLeft(string(tag), " "); rest != ""; rest = strings.TrimLeft(rest, " ") {
		key, quoted, ok := strings.Cut(rest, `:"`)
		if !ok {
			break
		}
		end := closing(quoted)
		if end < 0 {
			break
		}
		word := quoted[:end]
		if strings.Contains(word, "\\") {
			unquoted, err := strconv.Unquote(`"` + word + `"`)
			if err != nil {
				break
			}
			word = unquoted
		}
		t[key], rest = word, quoted[end+1:]
	}
	return t
}

// closing returns where the quotation mark is that ends a quoted text.
func closing(quoted string) int {
	for i := 0; i < len(quoted); i++ {
		switch quoted[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}
