package qemu

// Meta records how the VM came to be; commands write it, users do not (meta).
type Meta struct {
	CreationQEMU *string `pve:"creation-qemu" doc:"Version of QEMU the VM was created with." pattern:"\\d+(\\.\\d+)+"`
	CTime        *int    `pve:"ctime" doc:"When the VM was created, in seconds since 1970." min:"0"`
}
