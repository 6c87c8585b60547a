package qemu

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Dialect says how the configuration file of a VM is read and written.
func Dialect() *config.Dialect {
	return &config.Dialect{
		Pending:  "PENDING",
		Check:    CheckStored,
		Special:  map[string]func(key, value string) (string, error){"cloudinit": nil, "fleecing": checkFleecing},
		Alias:    map[string]string{"cdrom": "ide2"},
		KeyChars: "_-",
	}
}

// ReadDoc reads the text of a VM's configuration file. With strict the first fault is the
// error; else what is wrong is left out and told to warn, which may be nil.
func ReadDoc(vmid id.VM, text []byte, strict bool, warn func(string)) (*config.Doc, error) {
	return config.Parse(Dialect(), vmid, text, strict, warn)
}

// WriteDoc returns the text of the configuration file that holds doc, which it tidies: the
// options that others have replaced become those, a volume in use is no longer unused, and
// what the last cloud-init image held goes where there is no such drive.
func WriteDoc(doc *config.Doc) ([]byte, error) {
	if err := tidy(doc); err != nil {
		return nil, err
	}
	if err := checkAll(doc); err != nil {
		return nil, err
	}
	return doc.Bytes(Dialect()), nil
}

// CheckStored checks one value as files hold it and returns it as they keep it. Its
// range and its words are not checked, so that what another version wrote survives.
func CheckStored(key, value string) (string, error) {
	if key == "args" {
		return value, nil // quotes mean something there
	}
	f, _ := schema.TypeOf(reflect.TypeFor[Config]()).Lookup(key)
	if f == nil {
		return "", fmt.Errorf("unknown setting '%s'", key)
	}
	return f.Schema.CheckStored(value)
}

// checkFleecing checks a value of the section that notes the images left by a backup.
func checkFleecing(key, value string) (string, error) {
	if key != "fleecing-images" {
		return "", fmt.Errorf("unknown setting '%s'", key)
	}
	for _, volid := range schema.SplitList(value) {
		if err := schema.CheckFormat("pve-volume-id", volid); err != nil {
			return "", err
		}
	}
	return value, nil
}

// tidy brings doc into the form that is written.
func tidy(doc *config.Doc) error {
	v := doc.Values
	delete(v, "snapstate")
	if cdrom, ok := v["cdrom"]; ok {
		if _, both := v["ide2"]; both {
			return fmt.Errorf("option ide2 conflicts with cdrom")
		}
		v["ide2"] = cdrom
		delete(v, "cdrom")
	}
	if smp, ok := v["smp"]; ok {
		if v["sockets"] == "" {
			v["sockets"] = smp
			delete(v, "cores")
		}
		delete(v, "smp")
	}
	if doc.Special["cloudinit"] != nil && !slices.ContainsFunc(slices.Collect(maps.Values(driveValues(v))), isCloudInitDrive) {
		delete(doc.Special, "cloudinit")
	}
	dropUsed(v)
	return nil
}

// dropUsed removes the entries for unused volumes that a drive uses.
func dropUsed(v schema.Params) {
	used := map[string]bool{}
	for _, value := range driveValues(v) {
		used[driveFile(value)] = true
	}
	for key, value := range v {
		if family, _, ok := schema.Member(key); ok && family == "unused" && used[driveFile(value)] {
			delete(v, key)
		}
	}
}

// driveValues returns the values of v that are of drives which a guest sees.
func driveValues(v schema.Params) schema.Params {
	drives := schema.Params{}
	for key, value := range v {
		switch family, _, ok := schema.Member(key); {
		case !ok:
		case slices.Contains([]string{"ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"}, family):
			drives[key] = value
		}
	}
	return drives
}

// driveFile returns the volume or path that the value of a drive names.
func driveFile(value string) string {
	for part := range strings.SplitSeq(value, ",") {
		key, named, ok := strings.Cut(part, "=")
		switch {
		case !ok:
			return part
		case key == "file" || key == "volume":
			return named
		}
	}
	return ""
}

// isCloudInitDrive tells whether the value of a drive names the image of cloud-init.
func isCloudInitDrive(value string) bool {
	return schema.Matches(`.*[:/](vm-\d+-)?cloudinit(\.(raw|qcow2?|qed|vmdk|cloop))?`, driveFile(value))
}

// checkAll checks the values that will be written.
func checkAll(doc *config.Doc) error {
	if err := checkValues(doc.Values); err != nil {
		return err
	}
	if err := checkValues(doc.Pending); err != nil {
		return err
	}
	for _, values := range doc.Snapshots {
		if err := checkValues(values); err != nil {
			return err
		}
	}
	return nil
}

// checkValues checks the values of a section. What is kept otherwise than it is given is
// changed.
func checkValues(values schema.Params) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key == config.Description || key == "delete" || key == "snapstate" {
			continue
		}
		if strings.Contains(values[key], "\n") {
			// The rest would be read as lines of their own: other options, or a lock.
			return fmt.Errorf("unable to write '%s' - a value is one line", key)
		}
		kept, err := CheckStored(key, values[key])
		if err != nil {
			return fmt.Errorf("unable to parse value of '%s' - %w", key, err)
		}
		values[key] = kept
	}
	return nil
}
