package qemu

// Boot is the value of boot.
type Boot struct {
	Legacy *string `pve:"legacy,default_key" doc:"" pattern:"[acdn]{1,4}" default:"cdn" hint:"[acdn]{1,4}"`
	Order  *string `pve:"order" doc:"" format:"pve-qm-bootdev-list" hint:"device[;device...]"`
}
