package container

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Dialect says how the configuration file of a container is read and written.
func Dialect() *config.Dialect {
	return &config.Dialect{
		Pending:     "pve:pending",
		Check:       CheckStored,
		KeyChars:    "_",
		Raw:         RawKey,
		KeepInvalid: true,
		Ends:        true,
	}
}

// ReadDoc reads the text of a container's configuration file. With strict the first fault
// is the error; else it is told to warn, which may be nil, and a value that is wrong is
// kept as it is.
func ReadDoc(vmid id.VM, text []byte, strict bool, warn func(string)) (*config.Doc, error) {
	doc, err := config.Parse(Dialect(), vmid, text, strict, warn)
	if err != nil {
		return nil, err
	}
	eachSection(doc, readEnv)
	return doc, nil
}

// WriteDoc returns the text of the configuration file that holds doc. A volume in use is
// no longer unused.
func WriteDoc(doc *config.Doc) ([]byte, error) {
	delete(doc.Values, "snapstate")
	dropUsed(doc.Values)
	out := doc.Clone()
	eachSection(out, writeEnv)
	var err error
	eachSection(out, func(values schema.Params) {
		for key, value := range values {
			if key != config.Description && key != config.RawKey && strings.ContainsAny(value, "\n\r\x00") {
				// The rest would be read as lines of their own: other options, or a lock.
				err = fmt.Errorf("detected invalid newline inside property '%s'", key)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out.Bytes(Dialect()), nil
}

func eachSection(doc *config.Doc, fn func(schema.Params)) {
	fn(doc.Values)
	if doc.Pending != nil {
		fn(doc.Pending)
	}
	for _, values := range doc.Snapshots {
		fn(values)
	}
}

// CheckStored checks one value as files hold it and returns it as they keep it. Its
// range and its words are not checked, so that what another version wrote survives.
func CheckStored(key, value string) (string, error) {
	f, _ := schema.TypeOf(reflect.TypeFor[Config]()).Lookup(key)
	if f == nil {
		return "", fmt.Errorf("unknown setting '%s'", key)
	}
	return f.Schema.CheckStored(value)
}

// envKey is the key of LXC under which the file keeps the variables of env, one a line.
const envKey = "lxc.environment.runtime"

// readEnv makes the option env of the lines that the file has instead.
func readEnv(values schema.Params) {
	var env, rest []string
	for _, line := range RawLines(values) {
		if line.Key == envKey {
			env = append(env, line.Value)
		} else {
			rest = append(rest, line.String())
		}
	}
	if len(env) > 0 {
		values["env"] = strings.Join(env, "\x00")
		setRaw(values, rest)
	}
}

// writeEnv is the inverse of readEnv.
func writeEnv(values schema.Params) {
	env, ok := values["env"]
	if !ok {
		return
	}
	delete(values, "env")
	var lines []string
	for variable := range strings.SplitSeq(env, "\x00") {
		lines = append(lines, RawLine{envKey, variable}.String())
	}
	for _, line := range RawLines(values) {
		lines = append(lines, line.String())
	}
	setRaw(values, lines)
}

func setRaw(values schema.Params, lines []string) {
	delete(values, config.RawKey)
	if len(lines) > 0 {
		values[config.RawKey] = strings.Join(lines, "\n")
	}
}

// A RawLine is a line for LXC, which is no option of ours.
type RawLine struct{ Key, Value string }

// String returns the line as the file has it.
func (l RawLine) String() string { return l.Key + ": " + l.Value }

// RawLines returns the lines for LXC that values have, in order.
func RawLines(values schema.Params) []RawLine {
	var lines []RawLine
	for line := range strings.SplitSeq(values[config.RawKey], "\n") {
		if key, value, ok := strings.Cut(line, ": "); ok {
			lines = append(lines, RawLine{key, value})
		} else if key, ok := strings.CutSuffix(line, ":"); ok {
			lines = append(lines, RawLine{key, ""})
		}
	}
	return lines
}

// SetRawLines is the inverse of [RawLines].
func SetRawLines(values schema.Params, lines []RawLine) {
	var texts []string
	for _, line := range lines {
		texts = append(texts, line.String())
	}
	setRaw(values, texts)
}

// dropUsed removes the entries for unused volumes that are mounted.
func dropUsed(values schema.Params) {
	var used []string
	for _, v := range Volumes(values) {
		used = append(used, v.ID)
	}
	for key, value := range values {
		if guest.IsUnused(key) && slices.Contains(used, VolumeOf(value)) {
			delete(values, key)
		}
	}
}

// Load reads the configuration of a container of our node. What is wrong in the file is
// told to the user.
func Load(ctx context.Context, c *cluster.Client, vmid id.VM) (*config.Doc, error) {
	text, err := c.ReadGuest(ctx, cluster.Container, vmid)
	if err != nil {
		return nil, err
	}
	return ReadDoc(vmid, text, false, func(fault string) { fmt.Fprintln(api.StreamsOf(ctx).Err, fault) })
}

// Save writes the configuration of a container of our node.
func Save(ctx context.Context, c *cluster.Client, vmid id.VM, doc *config.Doc) error {
	text, err := WriteDoc(doc)
	if err != nil {
		return err
	}
	return c.WriteGuest(ctx, cluster.Container, vmid, text)
}

// Typed reads the values of a section into a Config. What it cannot read is left out.
func Typed(values schema.Params) *Config {
	c := new(Config)
	for key, value := range values {
		if key != config.Description && key != config.RawKey {
			_ = schema.Set(c, key, value) // Load has told of it already
		}
	}
	return c
}
