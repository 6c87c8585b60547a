package pct

import "github.com/virtsmith/virtsmith/pkg/cli"

// examples are for the manual page.
func examples() []cli.Example {
	return []cli.Example{
		{Line: "pveam update && pveam download local debian-12-standard_12.7-1_amd64.tar.zst", Doc: "Get a template."},
		{Line: "pct create 200 local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst --hostname web --memory 1024 --rootfs local:8 --net0 name=eth0,bridge=vmbr0,ip=dhcp --ssh-public-keys ~/.ssh/id_ed25519.pub --start 1", Doc: "Make an unprivileged container with a root of 8 GiB, and start it."},
		{Line: "pct exec 200 -- apt-get update", Doc: "Run a program in it; the exit code is that of the program."},
		{Line: "pct set 200 --memory 2048 --mp0 local:16,mp=/srv", Doc: "Give a running container more memory, and a new volume."},
		{Line: "pct push 200 site.conf /etc/nginx/conf.d/site.conf --perms 0644", Doc: "Copy a file into it."},
		{Line: "pct snapshot 200 before --description 'before the upgrade'", Doc: "Keep its volumes as they are."},
		{Line: "pct destroy 200 --purge --dry-run", Doc: "See what would be removed."},
		{Line: "pct list --output-format json", Doc: "Feed the list of containers to another program."},
	}
}

// files are those that pct reads and writes, for the manual page.
func files() []cli.File {
	return []cli.File{
		{Path: "/etc/pve/lxc/<vmid>.conf", Doc: "The configuration of a container, a link to the folder of this node below /etc/pve/nodes."},
		{Path: "/etc/pve/storage.cfg", Doc: "The storages. Without it there is local, a folder at /var/lib/vz."},
		{Path: "/var/lib/lxc/<vmid>/", Doc: "What LXC is told of a container, and where its root is mounted."},
		{Path: "/run/lock/lxc/", Doc: "Locks on configurations; each says who holds it."},
		{Path: "/var/log/lxc/<vmid>.log", Doc: "What LXC says of the last start of a container."},
		{Path: "/var/log/pve/tasks/", Doc: "Logs of tasks, and the lists of those that run and have run."},
	}
}
