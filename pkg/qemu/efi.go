package qemu

import "github.com/virtsmith/virtsmith/pkg/schema"

// EFIDisk is the disk with the EFI variables (efidisk0).
type EFIDisk struct {
	File            string       `pve:"file,default_key" doc:"Volume with the EFI variables, or STORAGE:1 for a new one." format:"pve-volume-id-or-qm-path" hint:"volume" alias:"volume"`
	Type            *string      `pve:"efitype" doc:"Size of the firmware build; 4m is newer and needed for Secure Boot." enum:"2m|4m" default:"2m"`
	Format          *string      `pve:"format" doc:"Format of the image." enum:"raw|qcow|qed|qcow2|vmdk|cloop"`
	ImportFrom      *string      `pve:"import-from,input" doc:"Volume or absolute path to copy into the new disk." format:"pve-volume-id-or-absolute-path" hint:"source volume"`
	MSCert          *string      `pve:"ms-cert" doc:"Year of the Microsoft certificates among the enrolled keys." enum:"2011|2023|2023w|2023k" default:"2011"`
	PreEnrolledKeys *bool        `pve:"pre-enrolled-keys" doc:"Begin with keys of the distributions and of Microsoft enrolled." default:"0"`
	Size            *schema.Size `pve:"size" doc:"Size of the volume, as last seen." format:"disk-size" hint:"DiskSize"`
}
