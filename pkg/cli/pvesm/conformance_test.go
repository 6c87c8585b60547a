package pvesm

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/transcript"
)

func TestMain(m *testing.M) { transcript.Main(m, "pvesm", Main) }

var lists = regexp.MustCompile(`(?m)^\t(content|nodes) .*$`)

func TestConformancePVESM(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	transcript.Runner{
		Program: transcript.Program(t, "pvesm"),
		// Lists are kept in the order that the user gave; the recordings have them sorted.
		Rewrite: func(text string) string {
			return lists.ReplaceAllStringFunc(text, func(line string) string {
				name, words, _ := strings.Cut(line, " ")
				sorted := strings.Split(words, ",")
				slices.Sort(sorted)
				return name + " " + strings.Join(sorted, ",")
			})
		},
		Deviations: deviations(),
	}.Run(t, "cli/cli-pvesm")
}

// deviations are the cases where we differ knowingly, with the reason.
func deviations() map[string]string {
	const (
		later    = "pbs and esxi come later; they are not declared before, and their sections are kept as they are"
		gluster  = "glusterfs is kept from the releases that had it, and has maxfiles"
		exits    = "upstream leaves with 0 though the task has failed; scripts must be able to trust us"
		damaged  = "upstream refuses by chance, naming what is not there; we say which file to mend"
		damagedR = "what can be read is shown in spite of the lines that cannot"
	)
	return map[string]string{
		"default: pvesm":      "the list of commands has no scan pbs: " + later,
		"default: pvesm s":    "the list of commands has no scan pbs: " + later,
		"default: pvesm scan": "the list of commands has no scan pbs: " + later,
		"small: pvesm add esxi esx --server vc --disable":                                                    later,
		"small: pvesm add esxi esx --server vc --username root --password geheim --disable":                  later,
		"small: pvesm add pbs pbs1 --server pbs --disable":                                                   later,
		"small: pvesm add pbs pbs1 --server pbs --datastore ds --username u@pbs --password geheim --disable": later,
		"types: pvesm set backup-server --delete fingerprint":                                                later,
		"types: pvesm set backup-server --fingerprint bogus":                                                 later,
		"types: pvesm set backup-server --namespace n1":                                                      later,
		"types: pvesm set backup-server --port 8443":                                                         later,
		"types: pvesm set nas --maxfiles 2":                                                                  gluster,
		"small: pvesm add dir usb --path ${ROOT}/srv/usb --maxfiles 3":                                       gluster,
		"small: pvesm add dir usb --path ${ROOT}/srv/usb --content none":                                     "upstream fails on a content that its own --content '' leads to",
		"small: pvesm status --output-format json":                                                           "every command of ours has the formats of output",
		"types: pvesm set smb --password neu":                                                                "upstream warns that there is no user though there is one",
		"volumes: pvesm free local:9000/base-9000-disk-0.qcow2":                                              exits,
		"volumes: pvesm free nas:100/vm-100-disk-0.raw":                                                      exits,
		"dump: pvesm free local:backup/vzdump-qemu-100-2025_01_03-02_00_00.vma.zst":                          exits,
		"dump: pvesm extractconfig local:backup/vzdump-qemu-101-2025_01_05-03_00_00.vma":                     "upstream shows an empty configuration of a file that is no archive; we say so",
		"types: pvesm path ceph-pool:vm-100-disk-0":                                                          "who only asks for a path writes nothing: the configuration is made when the storage is used",
		"volumes: pvesm list local --content iso":                                                            "upstream's columns do not line up where names have letters beyond ASCII",
		"volumes: pvesm list local --content vztmpl":                                                         "lists are sorted by name; upstream's order follows the folder",
		"broken: pvesm add dir new --path ${ROOT}/srv/new --disable":                                         damaged,
		"broken: pvesm set twice --disable 0 --nodes pve1":                                                   damaged,
		"broken: pvesm remove badcontent":                                                                    damaged,
		"broken: pvesm remove nopath":                                                                        damaged,
		"broken: pvesm remove twice":                                                                         damaged,
		"broken: pvesm status":                                                                               damagedR,
	}
}
