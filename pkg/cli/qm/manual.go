package qm

import "github.com/virtsmith/virtsmith/pkg/cli"

// examples are for the manual page.
func examples() []cli.Example {
	return []cli.Example{
		{Line: "qm create 100 --name web --memory 2048 --cores 2 --scsihw virtio-scsi-single --scsi0 local:32 --ide2 local:iso/debian.iso,media=cdrom --net0 virtio,bridge=vmbr0 --boot 'order=scsi0;ide2'", Doc: "Make a VM with a new disk of 32 GiB, a CD to install from, and a network card."},
		{Line: "qm create 101 --memory 1024 --scsi0 local:0,import-from=/root/cloud.qcow2 --ide2 local:cloudinit --ciuser me --sshkeys ~/.ssh/id_ed25519.pub --ipconfig0 ip=dhcp --net0 virtio,bridge=vmbr0", Doc: "Make a VM of a cloud image, with an account and a key."},
		{Line: "qm start 100 && qm terminal 100", Doc: "Start a VM and open its serial port."},
		{Line: "qm set 100 --memory 4096 --delete ide2 --dry-run", Doc: "See what a change would do."},
		{Line: "qm snapshot 100 before --vmstate 1", Doc: "Keep disks and memory of a running VM."},
		{Line: "qm shutdown 100 --timeout 60 --forceStop 1", Doc: "Shut a guest down, and end it after a minute."},
		{Line: "qm list --output-format json", Doc: "Feed the list of VMs to another program."},
	}
}

// files are those that qm reads and writes, for the manual page.
func files() []cli.File {
	return []cli.File{
		{Path: "/etc/pve/qemu-server/<vmid>.conf", Doc: "The configuration of a VM, a link to the folder of this node below /etc/pve/nodes."},
		{Path: "/etc/pve/storage.cfg", Doc: "The storages. Without it there is local, a folder at /var/lib/vz."},
		{Path: "/etc/pve/datacenter.cfg", Doc: "What holds for all nodes: keyboard, MAC prefix, bandwidth limits, range of numbers."},
		{Path: "/etc/pve/virtual-guest/cpu-models.conf", Doc: "CPU models of your own."},
		{Path: "/etc/pve/mapping/", Doc: "Names for PCI and USB devices and for folders."},
		{Path: "/run/qemu-server/", Doc: "Process ids and sockets of running VMs."},
		{Path: "/run/lock/qemu-server/", Doc: "Locks on configurations; each says who holds it."},
		{Path: "/var/log/pve/tasks/", Doc: "Logs of tasks, and the lists of those that run and have run."},
		{Path: "/var/log/virtsmith/qemu/<vmid>.log", Doc: "What QEMU itself had to say since the last start."},
	}
}
