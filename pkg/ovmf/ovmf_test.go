package ovmf_test

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the sums that Microsoft publishes
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/virtsmith/virtsmith/pkg/ovmf"
)

// Images of the firmware that Debian packages.
const (
	debian4M      = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
	debian2M      = "/usr/share/OVMF/OVMF_VARS.ms.fd"
	debianNoKeys  = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	authenticated = 0x27 // non-volatile, boot, runtime, time based authenticated write
)

func packaged(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("needs the package ovmf: %v", err)
	}
	return b
}

// made is an image as EDK2 lays one out: store, log, work space and spare.
func made(t testing.TB, store, total int, vars ...ovmf.Variable) []byte {
	t.Helper()
	b := bytes.Repeat([]byte{0xff}, total)
	clear(b[:16])
	copy(b[16:], unhex(t, "8d2bf1ff96768b4ca9852747075b4f50"))
	binary.LittleEndian.PutUint64(b[32:], uint64(total))
	copy(b[40:], "_FVH")
	copy(b[44:], unhex(t, "fffe04004800000000000002"))
	binary.LittleEndian.PutUint32(b[56:], uint32(total/0x1000))
	binary.LittleEndian.PutUint32(b[60:], 0x1000)
	clear(b[64:72])
	var sum uint16
	for i := 0; i < 72; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[50:], -sum)
	copy(b[72:], unhex(t, "782cf3aa7b949a43a1802e144ec37792"))
	binary.LittleEndian.PutUint32(b[88:], uint32(store-72))
	copy(b[92:], unhex(t, "5afe000000000000"))
	copy(b[store+0x1000:], unhex(t, "2b29589e687c7d49a0ce6500fd9f1b95"+"2caf2c64feffffff"+"e00f000000000000"))
	m := parse(t, b)
	for _, v := range vars {
		if err := m.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	return m.Bytes()
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *ovmf.Image {
	t.Helper()
	m, err := ovmf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// names lists the certificates of a variable by the common names of their subjects.
func names(t testing.TB, m *ovmf.Image, variable string) []string {
	t.Helper()
	lists, err := m.Signatures(variable)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range lists {
		for _, s := range l.Signatures {
			if l.Type != ovmf.X509() {
				continue
			}
			c, err := x509.ParseCertificate(s.Data)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c.Subject.CommonName)
		}
	}
	return all
}

func TestEnrollDebian(t *testing.T) {
	for name, path := range map[string]string{"4M": debian4M, "2M": debian2M} {
		t.Run(name, func(t *testing.T) {
			before := packaged(t, path)
			old := parse(t, before)
			m := parse(t, append(bytes.Clone(before), make([]byte, 1<<20)...)) // as in a larger volume
			if diff := cmp.Diff(before, m.Bytes()); diff != "" {
				t.Fatal("reading changes the image", diff)
			}
			added, err := m.Enroll(ovmf.Microsoft2023())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ovmf.Microsoft2023(), added); diff != "" {
				t.Error(diff)
			}
			after := parse(t, m.Bytes())
			for _, variable := range []string{"PK", "KEK", "db"} {
				want := names(t, old, variable)
				for _, c := range ovmf.Microsoft2023() {
					if c.Variable == variable {
						want = append(want, c.Name)
					}
				}
				if diff := cmp.Diff(want, names(t, after, variable)); diff != "" {
					t.Errorf("%s: %s", variable, diff)
				}
				t.Logf("%s: %s", variable, strings.Join(names(t, after, variable), ", "))
			}
			// whatever was there is there as it was, but for what KEK and db hold
			var was, is []ovmf.Variable
			for _, v := range old.Variables() {
				w, ok := after.Get(v.Vendor, v.Name)
				if v.Name == "KEK" || v.Name == "db" {
					if v.Attributes != authenticated || !bytes.HasPrefix(w.Data, v.Data) {
						t.Errorf("%s: %#x, %d bytes", v.Name, v.Attributes, len(w.Data))
					}
					v.Data, w.Data = nil, nil
				}
				if was = append(was, v); ok {
					is = append(is, w)
				}
			}
			if diff := cmp.Diff(was, is, cmpopts.IgnoreUnexported(ovmf.Variable{})); diff != "" {
				t.Error(diff)
			}
			if len(after.Variables()) != len(was) {
				t.Errorf("%d variables, were %d", len(after.Variables()), len(was))
			}
			// nothing outside of the store changed, and the changes say all
			replay := bytes.Clone(before)
			for _, s := range m.Changes() {
				if !bytes.Equal(s.Old, before[s.Offset:][:len(s.Old)]) || len(s.Old) != len(s.New) {
					t.Errorf("span at %#x", s.Offset)
				}
				copy(replay[s.Offset:], s.New)
				parse(t, replay) // a stop here leaves something usable
			}
			if !bytes.Equal(replay, m.Bytes()) {
				t.Error("the changes are not all")
			}
			if again, err := after.Enroll(ovmf.Microsoft2023()); err != nil || len(again) > 0 || len(after.Changes()) > 0 {
				t.Errorf("enrolled again: %v, %v", again, err)
			}
		})
	}
}

func TestEnrollWithoutKeys(t *testing.T) {
	m := parse(t, packaged(t, debianNoKeys))
	if _, err := m.Enroll(ovmf.Microsoft2023()); !errors.Is(err, ovmf.ErrNoKeys) || len(m.Changes()) > 0 {
		t.Error(err)
	}
}

func TestMicrosoft2023(t *testing.T) {
	want := map[string]string{ // as FirmwareDefaults.toml of microsoft/secureboot_objects has them
		"Microsoft Corporation KEK 2K CA 2023": "459ab6fb5e284d272d5e3e6abc8ed663829d632b",
		"Windows UEFI CA 2023":                 "45a0fa32604773c82433c3b7d59e7466b3ac0c67",
		"Microsoft UEFI CA 2023":               "b5eeb4a6706048073f0ed296e7f580a790b59eaa",
		"Microsoft Option ROM UEFI CA 2023":    "3fb39e2b8bd183bf9e4594e72183ca60afcd4277",
	}
	got := map[string]string{}
	for _, c := range ovmf.Microsoft2023() {
		sum := sha1.Sum(c.DER) //nolint:gosec // as above
		got[c.Name] = hex.EncodeToString(sum[:])
		cert, err := x509.ParseCertificate(c.DER)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if cert.Subject.CommonName != c.Name || cert.Subject.Organization[0] != "Microsoft Corporation" || !cert.IsCA ||
			cert.NotBefore.Year() != 2023 || cert.NotAfter.Before(time.Date(2035, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %s, %s to %s", c.Name, cert.Subject, cert.NotBefore, cert.NotAfter)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// keys are the variables of a store in user mode.
func keys() []ovmf.Variable {
	list := func(s string) []byte { return ovmf.AppendCertificate(nil, ovmf.GUID{1}, []byte(s)) }
	return []ovmf.Variable{
		{Name: "PK", Vendor: ovmf.Global(), Attributes: authenticated, Time: [16]byte{0xe8, 7}, Data: list("pk")},
		{Name: "KEK", Vendor: ovmf.Global(), Attributes: authenticated, Time: [16]byte{0xe8, 7, 1}, Count: 3, Key: 4, Data: list("kek")},
		{Name: "db", Vendor: ovmf.ImageSecurity(), Attributes: authenticated, Data: list("db")},
		{Name: "Ümläut😀", Vendor: ovmf.Microsoft(), Attributes: 7, Data: []byte{}},
	}
}

func TestSet(t *testing.T) {
	b := made(t, 0x40000, 0x84000, keys()...)
	opt := cmpopts.IgnoreUnexported(ovmf.Variable{})
	if diff := cmp.Diff(keys(), parse(t, b).Variables(), opt, cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(diff)
	}
	m := parse(t, b)
	free := m.Free()
	if _, err := m.Enroll(ovmf.Microsoft2023()); err != nil {
		t.Fatal(err)
	}
	if used := free - m.Free(); used < 5500 || used > 6500 {
		t.Errorf("took %d bytes", used)
	}
	kek, _ := m.Get(ovmf.Global(), "KEK")
	want := keys()[1]
	want.Data = ovmf.AppendCertificate(want.Data, ovmf.Microsoft(), ovmf.Microsoft2023()[0].DER)
	if diff := cmp.Diff(want, kek, opt); diff != "" {
		t.Error(diff)
	}
	spans := m.Changes()
	if len(spans) != 3 || spans[0].Offset < spans[1].Offset || len(spans[1].New)+len(spans[2].New) != 2 {
		t.Errorf("%d spans: %+v", len(spans), spans)
	}
}

// A store whose room is used up by what was deleted is written anew.
func TestSetWhereFull(t *testing.T) {
	m := parse(t, made(t, 0xe000, 0x20000, keys()...))
	v := ovmf.Variable{Name: "filler", Vendor: ovmf.Microsoft(), Attributes: 7, Data: bytes.Repeat([]byte{1}, 0x2000)}
	for m.Free() > 0x1000 {
		v.Data = v.Data[:min(len(v.Data), m.Free()-0x200)]
		if err := m.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	m = parse(t, m.Bytes())
	if _, err := m.Enroll(ovmf.Microsoft2023()); err != nil {
		t.Fatal(err)
	}
	if spans := m.Changes(); len(spans) != 1 {
		t.Errorf("%d spans", len(spans))
	}
	after := parse(t, m.Bytes())
	if diff := cmp.Diff(m.Variables(), after.Variables(), cmpopts.IgnoreUnexported(ovmf.Variable{})); diff != "" || len(after.Variables()) != 5 {
		t.Error(diff)
	}
	for i := range 10 {
		if err := m.Set(ovmf.Variable{Name: strings.Repeat("x", i+1), Vendor: ovmf.Microsoft(), Data: v.Data[:0x1400]}); err != nil {
			if !errors.Is(err, ovmf.ErrNoSpace) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("no end of space")
}

func TestStoppedFirmware(t *testing.T) {
	b := made(t, 0x40000, 0x84000, keys()...)
	kek := bytes.Index(b, []byte("K\x00E\x00K\x00")) - 60
	tests := map[string]struct {
		change func(b []byte)
		want   error
		names  string
	}{
		"replaced only half": {func(b []byte) { b[kek+2] = 0x3e }, nil, "PK db Ümläut😀 KEK"},
		"deleted":            {func(b []byte) { b[kek+2] = 0x3d }, nil, "PK db Ümläut😀"},
		"deleted after half": {func(b []byte) { b[kek+2] = 0x3c }, nil, "PK db Ümläut😀"},
		"only its header":    {func(b []byte) { b[kek+2] = 0x7f }, nil, "PK db Ümläut😀"},
		"write done":         {func(b []byte) { work(b, 0xf8) }, nil, "PK KEK db Ümläut😀"},
		"write not begun":    {func(b []byte) { work(b, 0xfe) }, nil, "PK KEK db Ümläut😀"},
		"write not done":     {func(b []byte) { work(b, 0xfc) }, ovmf.ErrUnfinished, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(b)
			tt.change(b)
			m, err := ovmf.Parse(b)
			if !errors.Is(err, tt.want) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			var got []string
			for _, v := range m.Variables() {
				got = append(got, v.Name)
			}
			if diff := cmp.Diff(tt.names, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// work puts a fault tolerant write with the given flags into the work space.
func work(b []byte, flags byte) {
	queue := b[0x41000+32:]
	queue[0] = flags
	binary.LittleEndian.PutUint64(queue[24:], 1)
	binary.LittleEndian.PutUint64(queue[32:], 8)
}

func TestParseFaults(t *testing.T) {
	good := made(t, 0xe000, 0x20000, keys()...)
	tests := map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"empty":        {func([]byte) []byte { return nil }, "no firmware volume"},
		"a disk":       {func(b []byte) []byte { return make([]byte, 540672) }, "no firmware volume"},
		"short":        {func(b []byte) []byte { return b[:0x10000] }, "volume of 131072 bytes in an image of 65536"},
		"other volume": {func(b []byte) []byte { b[16]++; return b }, "holds no variables"},
		"checksum":     {func(b []byte) []byte { b[50]++; return b }, "checksum of the volume header"},
		"odd header":   {func(b []byte) []byte { b[48]++; return b }, "volume header of 73 bytes"},
		"no authentication": {func(b []byte) []byte {
			copy(b[72:], "\x16\x36\xcf\xdd\x75\x32\x64\x41\x98\xb6\xfe\x85\x70\x7f\xfe\x7d")
			return b
		}, "without Secure Boot"},
		"unknown store":      {func(b []byte) []byte { b[72]++; return b }, "unknown kind of store aaf32c79-947b-439a-a180-2e144ec37792"},
		"long store":         {func(b []byte) []byte { b[91] = 1; return b }, "in a volume of 131072"},
		"unformatted store":  {func(b []byte) []byte { b[92] = 0xff; return b }, "not formatted"},
		"long variable":      {func(b []byte) []byte { b[100+40+3] = 1; return b }, "variable at 0x64 of 6 and"},
		"nameless variable":  {func(b []byte) []byte { b[100+36] = 0; return b }, "variable at 0x64"},
		"zero in a name":     {func(b []byte) []byte { b[160], b[161] = 0, 0; return b }, "UTF-16"},
		"bytes in the space": {func(b []byte) []byte { b[0xd000] = 0; return b }, "bytes behind the last variable"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ovmf.Parse(tt.change(bytes.Clone(good)))
			if !errors.Is(err, ovmf.ErrFormat) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestParseSignaturesFaults(t *testing.T) {
	good := ovmf.AppendCertificate(nil, ovmf.Microsoft(), []byte("certificate"))
	for name, change := range map[string]func(b []byte) []byte{
		"short":       func(b []byte) []byte { return b[:27] },
		"long list":   func(b []byte) []byte { b[16]++; return b },
		"long header": func(b []byte) []byte { b[20] = 200; return b },
		"no size":     func(b []byte) []byte { b[24] = 0; return b },
		"odd size":    func(b []byte) []byte { b[24]--; return b },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ovmf.ParseSignatures(change(bytes.Clone(good))); !errors.Is(err, ovmf.ErrFormat) {
				t.Error(err)
			}
		})
	}
}

// FuzzEnroll fuzzes what is in the store; TestParseFaults looks at what is before it.
func FuzzEnroll(f *testing.F) {
	const store, total = 0x3000, 0x8000
	empty := made(f, store, total)
	full := made(f, store, total, keys()...)
	f.Add(full[100:0x200])
	f.Add(full[100:0x180])
	f.Add(bytes.Repeat(full[100:0x180], 20))
	f.Fuzz(func(t *testing.T, vars []byte) {
		b := bytes.Clone(empty)
		copy(b[100:store], vars)
		m, err := ovmf.Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Bytes(), b) {
			t.Fatal("reading changes the image")
		}
		if _, err := m.Enroll(ovmf.Microsoft2023()); err != nil {
			return
		}
		after, err := ovmf.Parse(m.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		was, is := m.Variables(), after.Variables()
		if len(was) != len(is) {
			t.Fatalf("%d variables, then %d", len(was), len(is))
		}
		for i := range was {
			if was[i].Name != is[i].Name || was[i].Vendor != is[i].Vendor || !bytes.Equal(was[i].Data, is[i].Data) {
				t.Fatalf("%+v, then %+v", was[i], is[i])
			}
		}
		if again, err := after.Enroll(ovmf.Microsoft2023()); err != nil || len(again) > 0 {
			t.Fatal(again, err)
		}
	})
}

func FuzzParseSignatures(f *testing.F) {
	f.Add(ovmf.AppendCertificate(nil, ovmf.Microsoft(), []byte("certificate")))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ovmf.ParseSignatures(b) })
}
