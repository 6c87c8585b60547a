package qemu

import "github.com/virtsmith/virtsmith/pkg/schema"

// TPMState is the disk with the state of the TPM (tpmstate0).
type TPMState struct {
	File       string       `pve:"file,default_key" doc:"Volume with the state, or STORAGE:1 for a new one." format:"pve-volume-id-or-qm-path" hint:"volume" alias:"volume"`
	Format     *string      `pve:"format" doc:"Format of the image." enum:"raw|qcow2|vmdk"`
	ImportFrom *string      `pve:"import-from,input" doc:"Volume or absolute path to copy into the new disk." format:"pve-volume-id-or-absolute-path" hint:"source volume"`
	Size       *schema.Size `pve:"size" doc:"Size of the volume, as last seen." format:"disk-size" hint:"DiskSize"`
	Version    *string      `pve:"version" doc:"Version of the TPM; fixed once the disk exists." enum:"v1.2|v2.0" default:"v1.2"`
}
