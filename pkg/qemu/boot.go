package qemu

// Boot is the boot order: a list of devices, or letters of device classes in old files (boot).
type Boot struct {
	Legacy *string `pve:"legacy,default_key" doc:"Boot order by device class: a floppy, c disk, d CD-ROM, n network." pattern:"[acdn]{1,4}" default:"cdn" hint:"[acdn]{1,4}"`
	Order  *string `pve:"order" doc:"Devices to boot from, the first one first." format:"pve-qm-bootdev-list" hint:"device[;device...]"`
}
