package qemu

import "github.com/virtsmith/virtsmith/pkg/schema"

// TPMState is the value of tpmstate0.
type TPMState struct {
	File       string       `pve:"file,default_key" doc:"" format:"pve-volume-id-or-qm-path" hint:"volume" alias:"volume"`
	Format     *string      `pve:"format" doc:"" enum:"raw|qcow2|vmdk"`
	ImportFrom *string      `pve:"import-from,input" doc:"" format:"pve-volume-id-or-absolute-path" hint:"source volume"`
	Size       *schema.Size `pve:"size" doc:"" format:"disk-size" hint:"DiskSize"`
	Version    *string      `pve:"version" doc:"" enum:"v1.2|v2.0" default:"v1.2"`
}
