package qm

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

// A keyVM is a VM that shows what keys of its configuration do.
type keyVM struct {
	name    string
	storage string                              // storage.cfg, where it is not the default
	prepare func(t *testing.T, l *keyLab)       // before the VM is made
	options func(t *testing.T, l *keyLab) []any // more options of qm create
	create  []string                            // options of qm create
	state   keyState
	proofs  []keyProof
}

// keyState is how far a VM goes.
type keyState int

const (
	frozen keyState = iota // QEMU runs, the guest does not begin: freeze is set
	booted                 // the guest runs and its agent answers
	off                    // it is only configured
)

// A keyProof shows what keys do. Keys are named as in spec/vm-config.json, those of a
// property string as net[n].rate; disk is any of the four buses, net[n].* all keys of it.
type keyProof struct {
	keys string
	show func(*testing.T, *keyLab)
}

// Every key of a VM acts: in the guest, in QEMU, on the host or in what commands do. One
// that nothing can be shown of on this machine is refused, and says why.
func TestKeys(t *testing.T) {
	for _, vm := range keyVMs() {
		t.Run(vm.name, func(t *testing.T) {
			t.Parallel()
			l := newKeyLab(t)
			l.make(t, vm)
			for _, p := range vm.proofs {
				name, _, _ := strings.Cut(p.keys, " ")
				t.Run(name, func(t *testing.T) { p.show(t, l) })
			}
		})
	}
}

// keyVMs are all VMs but those that need a network of their own: see [bridgeProofs].
func keyVMs() []keyVM {
	return slices.Concat(bootedVMs(), frozenVMs(), deviceVMs(), refusedVMs(), configuredVMs())
}

// Every key of the specification has a proof.
func TestKeysComplete(t *testing.T) {
	spec := specKeys(t)
	proven := map[string]bool{}
	var proofs []keyProof
	for _, vm := range keyVMs() {
		proofs = append(proofs, vm.proofs...)
	}
	for _, p := range append(proofs, bridgeProofs()...) {
		for _, key := range strings.Fields(p.keys) {
			names := expandKey(spec, key)
			if len(names) == 0 {
				t.Errorf("%s is no key of the specification", key)
			}
			for _, name := range names {
				proven[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		if !proven[name] {
			t.Errorf("%s: nothing shows what it does", name)
		}
	}
}

// specKeys are the keys of the specification, with those of their property strings.
func specKeys(t *testing.T) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(conformance.Spec(t, "vm-config.json"))
	if err != nil {
		t.Skip("the interface specification is not on this machine")
	}
	var spec struct {
		Keys map[string]struct {
			Format     json.RawMessage
			Properties map[string]any `json:"format_properties"`
		}
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for name, s := range spec.Keys {
		keys[name] = true
		if s.Properties == nil {
			_ = json.Unmarshal(s.Format, &s.Properties) // else the format has a name, and no properties
		}
		for sub := range s.Properties {
			keys[name+"."+sub] = true
		}
	}
	return keys
}

// expandKey returns the keys of the specification that a proof means.
func expandKey(spec map[string]bool, key string) (names []string) {
	all := []string{key}
	if sub, ok := strings.CutPrefix(key, "disk"); ok && (sub == "" || sub[0] == '.') {
		all = []string{"ide[n]" + sub, "sata[n]" + sub, "scsi[n]" + sub, "virtio[n]" + sub}
	}
	for _, name := range all {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			for known := range spec {
				if strings.HasPrefix(known, prefix) {
					names = append(names, known)
				}
			}
			continue
		}
		if spec[name] {
			names = append(names, name)
		}
	}
	return names
}
