package qemu

// Unused is the value of unusedN.
type Unused struct {
	File string `pve:"file,default_key" doc:"" format:"pve-volume-id" hint:"volume" alias:"volume"`
}
