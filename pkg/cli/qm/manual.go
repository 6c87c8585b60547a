package qm

import "github.com/virtsmith/virtsmith/pkg/cli"

// examples are for the manual page.
func examples() []cli.Example {
	return []cli.Example{
		{"qm create 100 --name web --memory 2048 --cores 2 --scsihw virtio-scsi-single --scsi0 local:32 --ide2 local:iso/debian.iso,media=cdrom --net0 virtio,bridge=vmbr0 --boot 'order=scsi0;ide2'", "Make a VM with a new disk of 32 GiB, a CD to install from, and a network card."},
		{"qm create 101 --memory 1024 --scsi0 local:0,import-from=/root/cloud.qcow2 --ide2 local:cloudinit --ciuser me --sshkeys ~/.ssh/id_ed25519.pub --ipconfig0 ip=dhcp --net0 virtio,bridge=vmbr0", "Make a VM of a cloud image, with an account and a key."},
		{"qm start 100 && qm terminal 100", "Start a VM and open its serial port."},
		{"qm set 100 --memory 4096 --delete ide2 --dry-run", "See what a change would do."},
		{"qm snapshot 100 before --vmstate 1", "Keep disks and memory of a running VM."},
		{"qm shutdown 100 --timeout 60 --forceStop 1", "Shut a guest down, and end it after a minute."},
		{"qm list --output-format json", "Feed the list of VMs to another program."},
	}
}

// files are those that qm reads and writes, for the manual page.
func files() []cli.File {
	return []cli.File{
		{"/etc/pve/qemu-server/<vmid>.conf", "The configuration of a VM, a link to the folder of this node below /etc/pve/nodes."},
		{"/etc/pve/storage.cfg", "The storages. Without it there is local, a folder at /var/lib/vz."},
		{"/etc/pve/datacenter.cfg", "What holds for all nodes: keyboard, MAC prefix, bandwidth limits, range of numbers."},
		{"/etc/pve/virtual-guest/cpu-models.conf", "CPU models of your own."},
		{"/etc/pve/mapping/", "Names for PCI and USB devices and for folders."},
		{"/run/qemu-server/", "Process ids and sockets of running VMs."},
		{"/run/lock/qemu-server/", "Locks on configurations; each says who holds it."},
		{"/var/log/pve/tasks/", "Logs of tasks, and the lists of those that run and have run."},
		{"/var/log/virtsmith/qemu/<vmid>.log", "What QEMU itself had to say since the last start."},
	}
}
