package ovmf_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/ovmf"
)

// Real firmware takes an image that certificates were enrolled in: it starts with
// Secure Boot on, the kernel finds the certificates in the db that the firmware shows
// it, and what the firmware has written to the image afterwards is read again.
func TestFirmware(t *testing.T) {
	const code = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	m := parse(t, packaged(t, debian4M))
	for _, path := range []string{code, "/usr/bin/qemu-system-x86_64"} {
		if _, err := os.Stat(path); err != nil {
			t.Skip(err)
		}
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	guest := testguest.Dir(t)
	if _, err := m.Enroll(ovmf.Microsoft2023()); err != nil {
		t.Fatal(err)
	}
	vars := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(vars, m.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35,smm=on,accel=tcg", "-cpu", "max", "-m", "512",
		"-nodefaults", "-display", "none", "-no-reboot", "-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+code, "-drive", "if=pflash,format=raw,unit=1,file="+vars,
		"-kernel", filepath.Join(guest, "vmlinuz"), "-initrd", filepath.Join(guest, "initrd.img"),
		"-append", "console=ttyS0", "-serial", "stdio")
	said := talk(t, cmd)
	for _, want := range []string{
		"EFI stub: UEFI Secure Boot is enabled.",
		"Loaded X.509 cert 'Microsoft Windows Production PCA 2011: ",
		"Loaded X.509 cert 'Microsoft Corporation UEFI CA 2011: ",
		// the keys' identifiers are what the certificates themselves say
		"Loaded X.509 cert 'Microsoft Corporation: Windows UEFI CA 2023: aefc5fbbbe055d8f8daa585473499417ab5a5272'",
		"Loaded X.509 cert 'Microsoft UEFI CA 2023: 81aa6b3244c935bce0d6628af39827421e32497d'",
		"Loaded X.509 cert 'Microsoft Option ROM UEFI CA 2023: 514fbf937fa46fb57bf07af8bed84b3b864b1711'",
	} {
		if !slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, want) }) {
			t.Errorf("the guest did not say %q", want)
		}
	}
	after, err := os.ReadFile(vars)
	if err != nil {
		t.Fatal(err)
	}
	used := parse(t, after)
	if cmp.Equal(m.Bytes(), after) {
		t.Error("the firmware wrote nothing")
	}
	for _, variable := range []string{"PK", "KEK", "db"} {
		if diff := cmp.Diff(names(t, m, variable), names(t, used, variable)); diff != "" {
			t.Errorf("%s: %s", variable, diff)
		}
	}
	if added, err := used.Enroll(ovmf.Microsoft2023()); err != nil || len(added) > 0 {
		t.Errorf("enrolled again: %v, %v", added, err)
	}
}

// talk runs the test guest until it is up, has it power off, and returns the lines it
// said.
func talk(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	scan := bufio.NewScanner(out)
	up := false
	for scan.Scan() {
		lines = append(lines, scan.Text())
		if !up && strings.Contains(scan.Text(), testguest.Ready) {
			up = true
			_, _ = io.WriteString(in, "\npoweroff -f\n")
		}
	}
	if err := cmd.Wait(); err != nil || !up {
		t.Fatalf("the guest did not come up: %v: %s\n%s", err, complaint.String(), strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return lines
}
