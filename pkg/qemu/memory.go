package qemu

// Memory is how much memory the VM has (memory).
type Memory struct {
	Current int `pve:"current,default_key" doc:"Memory in MiB, which is also the most the balloon gives." min:"16" default:"512"`
}
