package qemu

// Unused is a volume of the VM that no drive uses (unusedN).
type Unused struct {
	File string `pve:"file,default_key" doc:"Volume that is not attached." format:"pve-volume-id" hint:"volume" alias:"volume"`
}
