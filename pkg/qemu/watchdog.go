package qemu

// Watchdog is the value of watchdog.
type Watchdog struct {
	Model  *string `pve:"model,default_key" doc:"" enum:"i6300esb|ib700" default:"i6300esb"`
	Action *string `pve:"action" doc:"" enum:"reset|shutdown|poweroff|pause|debug|none"`
}
