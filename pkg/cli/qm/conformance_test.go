package qm

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/transcript"
)

func TestMain(m *testing.M) { transcript.Main(m, "qm", Main) }

func program(t *testing.T) string {
	t.Helper()
	return transcript.Program(t, "qm")
}

var creationQEMU = regexp.MustCompile(`creation-qemu=7\.2\.[0-9]+,ctime=(\d{10})`)

func TestConformanceQM(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	transcript.Runner{
		Program: program(t),
		// The recordings were made beside another version of QEMU.
		Rewrite: func(text string) string {
			return creationQEMU.ReplaceAllString(text, "creation-qemu=11.0.0,ctime=$1")
		},
		Deviations: deviations(),
	}.Run(t, "cli/cli-qm")
}

// deviations are the cases where we differ knowingly, with the reason.
func deviations() map[string]string {
	const crosses = "what crosses nodes comes with the cluster; it is not declared before"
	const exits = "upstream leaves with 0 though the task has failed; scripts must be able to trust us"
	const restores = "archives come with backups; the options about them are not declared before"
	return map[string]string{
		"empty: qm create 100 --archive local:backup/nope.vma.zst": restores,
		"empty: qm create 100 --ciuser bob --cipassword secret":    "upstream keeps the password in clear; ours is hashed, as by qm set",
		"empty: qm create 100 --force 1":                           restores,
		"empty: qm create 100 --import-working-storage local":      "nothing can be imported yet that has to be unpacked",
		"empty: qm create 100 --live-restore 1":                    restores,
		"empty: qm create 100 --start 1 --archive x --name y":      restores,
		"empty: qm create 100 --unique 1":                          restores,
		"broken: qm disk resize 403 scsi0 +1G":                     exits,
		"broken: qm template 403":                                  exits + ", and a VM whose disk is missing stays what it was",
		"empty: qm resize 100 scsi0 +1G":                           exits,
		"lab: qm disk resize 100 ide2 +1G":                         exits,
		"lab: qm disk resize 100 scsi0 +1G --digest 1":             exits,
		"lab: qm disk resize 100 scsi0 4G":                         exits,
		"lab: qm disk resize 100 scsi1 +1G":                        exits,
		"locked: qm disk resize 300 scsi0 +1G":                     exits,
		"cluster: qm migrate 510 pve1":                             crosses,
		"empty: qm disk bogus":                                     "the list of commands has no migrate, remote-migrate, mtunnel and nbdstop: " + crosses,
		"empty: qm migrate 100":                                    crosses,
		"empty: qm mtunnel extra":                                  crosses,
		"empty: qm nbdstop 100":                                    crosses,
		"empty: qm remote-migrate 100":                             crosses,
		"lab: qm migrate 100 pve1":                                 crosses,
		"lab: qm migrate 100 pve7":                                 crosses,
		"locked: qm migrate 300 pve1":                              crosses,
	}
}
