package pvesm

import "github.com/virtsmith/virtsmith/pkg/cli"

// examples are for the manual page.
func examples() []cli.Example {
	return []cli.Example{
		{Line: "pvesm status", Doc: "See how full the storages are, and which ones do not answer."},
		{Line: "pvesm add nfs nas --server nas.example.org --export /export/vm --content images,backup --options vers=4.2", Doc: "Use a folder of an NFS server for disks and backups."},
		{Line: "pvesm add lvmthin fast --vgname pve --thinpool data --content images,rootdir", Doc: "Use a thin pool for disks and containers."},
		{Line: "pvesm set nas --disable 1 --dry-run", Doc: "See what a change would write."},
		{Line: "pvesm list local --vmid 100", Doc: "List what a guest has on a storage."},
		{Line: "pvesm prune-backups local --keep-last 3 --keep-weekly 4 --dry-run", Doc: "See which backups would go."},
		{Line: "pvesm export local:100/vm-100-disk-0.raw raw+size - | ssh other pvesm import fast:vm-100-disk-0 raw+size -", Doc: "Send a disk to another host."},
	}
}

// files are those that pvesm reads and writes, for the manual page.
func files() []cli.File {
	return []cli.File{
		{Path: "/etc/pve/storage.cfg", Doc: "The storages. Without it there is local, a folder at /var/lib/vz."},
		{Path: "/etc/pve/priv/storage/", Doc: "Passwords of storages, for root alone."},
		{Path: "/etc/pve/priv/ceph/", Doc: "Keys of Ceph storages, for root alone."},
		{Path: "/mnt/pve/", Doc: "Where network file systems are mounted."},
		{Path: "/run/lock/pve-manager/", Doc: "Locks on storages that other nodes do not use."},
	}
}
