package pct

import "github.com/virtsmith/virtsmith/pkg/cli"

// examples are for the manual page.
func examples() []cli.Example {
	return []cli.Example{
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
		{Path: "/var/log/pve/tasks/", Doc: "Logs of tasks, and the lists of those that run and have run."},
	}
}
