package qemu

// IVSHMem is memory shared with other VMs and the host (ivshmem).
type IVSHMem struct {
	Name *string `pve:"name" doc:"Name of the memory file, the VM's number if unset." pattern:"[a-zA-Z0-9\\-]+" hint:"string"`
	Size int     `pve:"size" doc:"Size of the shared memory in MiB." min:"1"`
}
