package qemu

import "github.com/virtsmith/virtsmith/pkg/schema"

// EFIDisk is the value of efidisk0.
type EFIDisk struct {
	File            string       `pve:"file,default_key" doc:"" format:"pve-volume-id-or-qm-path" hint:"volume" alias:"volume"`
	Type            *string      `pve:"efitype" doc:"" enum:"2m|4m" default:"2m"`
	Format          *string      `pve:"format" doc:"" enum:"raw|qcow|qed|qcow2|vmdk|cloop"`
	ImportFrom      *string      `pve:"import-from,input" doc:"" format:"pve-volume-id-or-absolute-path" hint:"source volume"`
	MSCert          *string      `pve:"ms-cert" doc:"" enum:"2011|2023|2023w|2023k" default:"2011"`
	PreEnrolledKeys *bool        `pve:"pre-enrolled-keys" doc:"" default:"0"`
	Size            *schema.Size `pve:"size" doc:"" format:"disk-size" hint:"DiskSize"`
}
