package container

// Device is a device of the host that the container has too (devN).
type Device struct {
	Path      *string `pve:"path,default_key" doc:"Device of the host." format:"pve-lxc-dev-string" hint:"Path"`
	DenyWrite *bool   `pve:"deny-write" doc:"Let the container only read." default:"0"`
	GID       *int    `pve:"gid" doc:"Group of the node in the container, by number." min:"0"`
	Mode      *string `pve:"mode" doc:"Access mode of the node, in octal." pattern:"0[0-7]{3}" hint:"Octal access mode"`
	UID       *int    `pve:"uid" doc:"Owner of the node in the container, by number." min:"0"`
}
