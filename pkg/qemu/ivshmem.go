package qemu

// IVSHMem is the value of ivshmem.
type IVSHMem struct {
	Name *string `pve:"name" doc:"" pattern:"[a-zA-Z0-9\\-]+" hint:"string"`
	Size int     `pve:"size" doc:"" min:"1"`
}
