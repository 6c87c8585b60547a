package qemu

// Watchdog is the device that acts when the guest hangs (watchdog).
type Watchdog struct {
	Model  *string `pve:"model,default_key" doc:"Model of the device." enum:"i6300esb|ib700" default:"i6300esb"`
	Action *string `pve:"action" doc:"What happens when the guest has stopped feeding the device." enum:"reset|shutdown|poweroff|pause|debug|none"`
}
