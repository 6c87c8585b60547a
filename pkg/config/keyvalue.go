package config

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Dialect is what the two kinds of guests do differently in their files.
type Dialect struct {
	// Pending is the header of the section of pending changes: "PENDING".
	Pending string
	// Check returns the value as it is kept, or says what is wrong with it.
	Check func(key, value string) (string, error)
	// Special are the sections [special:NAME], by name, with the check of their
	// values. A nil check takes everything.
	Special map[string]func(key, value string) (string, error)
	// Alias gives keys another name.
	Alias map[string]string
	// KeyChars are the characters beside small letters that a key may have before
	// its number.
	KeyChars string
	// Raw tells the keys of lines that are kept as they are, under [RawKey]. What it
	// says beside is wrong with the key, or worth knowing where it is kept.
	Raw func(key string) (kept bool, remark string)
	// KeepInvalid keeps a value that Check refuses, after it was told.
	KeepInvalid bool
	// Ends says that the last line of a description keeps its newline.
	Ends bool
}

// RawKey is the key under which lines are kept that are not options of ours, such
// as those for LXC: as text, one a line. They are written last.
const RawKey = "lxc"

// Description is the key of the text that comment lines hold.
const Description = "description"

// Parse reads the configuration file of a guest. With strict the first fault is the
// error. Else what is wrong is left out and told to warn, which may be nil, and there is no
// error.
func Parse(d *Dialect, vmid id.VM, text []byte, strict bool, warn func(string)) (*Doc, error) {
	sum := sha1.Sum(text)
	r := reader{Dialect: d, vmid: vmid, strict: strict, warn: warn, check: d.Check, doc: &Doc{
		Values: make(schema.Params, 24), Snapshots: map[string]schema.Params{}, Special: map[string]schema.Params{},
		Digest: hex.EncodeToString(sum[:]),
	}}
	r.into = r.doc.Values
	for rest := string(text); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		if err := r.line(line); err != nil {
			return nil, err
		}
	}
	r.endDescription()
	delete(r.doc.Values, "snapstate") // only snapshots have one
	return r.doc, nil
}

// reader is the state between two lines.
type reader struct {
	*Dialect
	vmid   id.VM
	strict bool
	warn   func(string)
	doc    *Doc

	into        schema.Params // the values of the section, nil where it is skipped
	check       func(key, value string) (string, error)
	pending     bool
	again       bool // in a snapshot, whose options are those of the VM
	description strings.Builder
	described   bool
}

// fault tells what is wrong: as the error, or as a warning.
func (r *reader) fault(format string, args ...any) error {
	text := fmt.Sprintf("vm %s - %s", r.vmid, strings.TrimSuffix(fmt.Sprintf(format, args...), "\n"))
	if r.strict {
		return errors.New(text)
	}
	if r.warn != nil {
		r.warn(text)
	}
	return nil
}

func (r *reader) line(line string) error {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	if line[0] == '[' {
		if header, ok := strings.CutSuffix(strings.TrimRight(line[1:], blanks), "]"); ok && !strings.Contains(header, "]") {
			if known, err := r.section(header); known || err != nil {
				return err
			}
		}
	}
	switch {
	case r.into == nil:
		return nil
	case line[0] == '#':
		r.describe(line[1:])
		r.description.WriteByte('\n')
		return nil
	}
	return r.pair(line)
}

// blanks are what separates and ends values.
const blanks = " \t\r\f\v"

// section starts the section of the given header. known is false where the line is
// no header in this dialect.
func (r *reader) section(header string) (known bool, err error) {
	isPending, isSnapshot := strings.EqualFold(header, r.Pending), isSnapshotName(header)
	if !isPending && !isSnapshot && r.Special == nil {
		return false, nil // where there are no special sections this is taken for a line
	}
	r.endDescription()
	r.pending, r.again, r.check = false, false, r.Check
	name, special := cutPrefixFold(header, "special:")
	switch {
	case isPending:
		if r.doc.Pending != nil {
			err = r.fault("duplicate section: pending")
		}
		r.doc.Pending = schema.Params{}
		r.into, r.pending = r.doc.Pending, true
	case special && r.has(name):
		if r.doc.Special[name] != nil {
			err = r.fault("duplicate section: %s", name)
		}
		r.doc.Special[name] = schema.Params{}
		r.into, r.check = r.doc.Special[name], r.Special[name]
	case isSnapshot:
		if r.doc.Snapshots[header] != nil {
			err = r.fault("duplicate snapshot section: %s", header)
		}
		r.doc.Snapshots[header] = make(schema.Params, 24)
		r.into, r.again = r.doc.Snapshots[header], true
	default:
		r.into = nil
		err = r.fault("skipping unknown section: '%s'", header)
	}
	return true, err
}

func (r *reader) has(special string) bool { _, ok := r.Special[special]; return ok }

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return strings.ToLower(s[len(prefix):]), true
}

// isSnapshotName tells whether a header names a snapshot.
func isSnapshotName(s string) bool { return len(s) > 1 && schema.CheckFormat("pve-configid", s) == nil }

// pair reads a line that is neither blank, header nor comment.
func (r *reader) pair(line string) error {
	key, rest, ok := strings.Cut(line, ":")
	if r.Raw != nil {
		if raw, err := r.raw(line); raw {
			return err
		}
	}
	if !ok || !r.isKey(key) || key == RawKey {
		return r.unreadable(line)
	}
	value := trimValue(rest)
	switch {
	case value == "":
		return r.unreadable(line)
	case key == Description:
		r.describe(strings.Trim(value, blanks))
		return nil
	case key == "snapstate" && (value == "prepare" || value == "delete"):
		r.into[key] = value
		return nil
	case key == "delete":
		if !r.pending {
			return r.fault("property 'delete' is only allowed in [%s]", r.Pending)
		}
		r.into[key] = value
		return nil
	}
	if r.check != nil && !r.checked(key, value) {
		kept, err := r.check(key, value)
		switch {
		case err == nil:
			value = kept
		case !r.KeepInvalid || r.strict:
			return r.fault("unable to parse value of '%s' - %s", key, err)
		default:
			_ = r.fault("unable to parse value of '%s' - %s", key, err) // it is told: this is not strict
		}
	}
	if proper, ok := r.Alias[key]; ok {
		key = proper
	}
	r.into[key] = value
	return nil
}

// checked tells whether a value of a snapshot is the one that holds now, which has been
// checked and stands there as it is kept. Most are, and checking costs the most of reading.
func (r *reader) checked(key, value string) bool {
	current, ok := r.doc.Values[key]
	return r.again && ok && current == value
}

func (r *reader) unreadable(line string) error {
	return r.fault("unable to parse config: %s", strings.TrimSuffix(line, "\r"))
}

// raw notes a line that is kept as it is. ok is false where it is none.
func (r *reader) raw(line string) (ok bool, err error) {
	end := strings.IndexAny(line, ":= \t")
	if end < 0 {
		return false, nil
	}
	value := strings.TrimLeft(line[end:], blanks)
	if value == "" || value[0] != ':' && value[0] != '=' {
		return false, nil
	}
	kept, remark := r.Raw(line[:end])
	switch {
	case !kept && remark == "":
		return false, nil
	case !kept:
		return true, r.fault("%s: %s", line[:end], remark)
	case remark != "" && r.warn != nil:
		r.warn(fmt.Sprintf("vm %s - %s: %s", r.vmid, line[:end], remark))
	}
	line = line[:end] + ": " + strings.Trim(value[1:], blanks)
	if old := r.into[RawKey]; old != "" {
		line = old + "\n" + line
	}
	r.into[RawKey] = line
	return true, nil
}

// trimValue removes the blanks around a value. Of a value that is nothing but
// blanks, one is left: so it is told from one that is not there.
func trimValue(s string) string {
	if value := strings.Trim(s, blanks); value != "" {
		return value
	}
	return s[max(0, len(s)-1):]
}

// isKey tells whether key is letters, the other characters of the dialect, and then a
// number or nothing.
func (r *reader) isKey(key string) bool {
	name := strings.TrimRight(key, "0123456789")
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && strings.IndexByte(r.KeyChars, c) < 0 {
			return false
		}
	}
	return true
}

func (r *reader) describe(text string) {
	r.description.WriteString(DecodeText(strings.TrimSuffix(text, "\r")))
	r.described = true
}

// endDescription gives the section the description that its comments were.
func (r *reader) endDescription() {
	if r.described && r.into != nil {
		text := r.description.String()
		if !r.Ends {
			text = strings.TrimRight(text, blanks+"\n")
		}
		r.into[Description] = text
	}
	r.description.Reset()
	r.described = false
}
