package guest_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestChecks(t *testing.T) {
	doc := &config.Doc{Values: schema.Params{"lock": "backup", "protection": "1"}, Digest: "abc"}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"locked vm":     {guest.CheckLock(cluster.VM, doc), "VM is locked (backup)"},
		"locked ct":     {guest.CheckLock(cluster.Container, doc), "CT is locked (backup)"},
		"protected":     {guest.CheckProtection(doc, "can't remove VM 310"), "can't remove VM 310 - protection mode enabled"},
		"other lock":    {guest.RemoveLock(doc, "clone"), "found lock 'backup' trying to remove 'clone' lock"},
		"digest":        {guest.CheckDigest(doc, new("x")), "checksum mismatch (file change by other user?)"},
		"same digest":   {guest.CheckDigest(doc, new("abc")), "<nil>"},
		"no digest":     {guest.CheckDigest(doc, nil), "<nil>"},
		"no snapshot":   {second(guest.Snapshot(doc, "x")), "snapshot 'x' does not exist"},
		"bad prefix":    {second(guest.NewMAC("01:", bytes.NewReader(nil))), "value is not a valid unicast MAC address prefix"},
		"no randomness": {second(guest.NewMAC("", bytes.NewReader(nil))), "make a hardware address: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(c.err); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if _, ok := errors.AsType[*guest.LockedError](guest.CheckLock(cluster.VM, doc)); !ok {
		t.Error("callers cannot tell the lock")
	}
	if err := guest.RemoveLock(doc, ""); err != nil || guest.CheckLock(cluster.VM, doc) != nil {
		t.Errorf("still locked, %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestTags(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		style      *cluster.TagStyle
	}{
		"sorted":         {"UPPER;lower", "lower;upper", nil},
		"unique":         {"x;y;x", "x;y", nil},
		"nothing":        {"", "", nil},
		"as given":       {"b,A a", "b;a", &cluster.TagStyle{Ordering: new("config")}},
		"case sensitive": {"b A a", "A;a;b", &cluster.TagStyle{CaseSensitive: new(true)}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := guest.Tags(c.text, c.style); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestConformanceMACPrefix(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Prefix string
			Valid        bool
		}
	}
	conformance.Load(t, "guest/mac-prefix", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if err := guest.CheckMACPrefix(c.Prefix); (err == nil) != c.Valid {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNewMAC(t *testing.T) {
	for prefix, want := range map[string]string{"": "BC:24:11:44:55:66", "02:0": "02:02:33:44:55:66", "aa": "AA:22:33:44:55:66"} {
		got, err := guest.NewMAC(prefix, bytes.NewReader([]byte{0x11, 0x22, 0x33, 0x44, 0x55, 0x66}))
		if err != nil || got != want {
			t.Errorf("%q: %s, %v", prefix, got, err)
		}
	}
}

func TestAddUnused(t *testing.T) {
	values := schema.Params{"unused0": "local:a", "unused2": "local:b"}
	for _, c := range []struct{ volume, want string }{{"local:b", "unused2"}, {"local:c", "unused1"}, {"local:d", "unused3"}} {
		if key, err := guest.AddUnused(values, c.volume); err != nil || key != c.want {
			t.Errorf("%s: %s, %v", c.volume, key, err)
		}
	}
	for i := range 256 {
		values[fmt.Sprintf("unused%d", i)] = fmt.Sprint(i)
	}
	if _, err := guest.AddUnused(values, "local:e"); err == nil {
		t.Error("more than there is room for")
	}
}
