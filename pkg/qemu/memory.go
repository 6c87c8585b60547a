package qemu

// Memory is the value of memory.
type Memory struct {
	Current int `pve:"current,default_key" doc:"" min:"16" default:"512"`
}
