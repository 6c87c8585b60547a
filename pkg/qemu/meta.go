package qemu

// Meta is the value of meta.
type Meta struct {
	CreationQEMU *string `pve:"creation-qemu" doc:"" pattern:"\\d+(\\.\\d+)+"`
	CTime        *int    `pve:"ctime" doc:"" min:"0"`
}
