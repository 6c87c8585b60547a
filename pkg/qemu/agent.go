package qemu

// Agent is the value of agent.
type Agent struct {
	Enabled           bool    `pve:"enabled,default_key" doc:"" default:"0"`
	FreezeFS          *bool   `pve:"freeze-fs" doc:"" default:"1" alias:"freeze-fs-on-backup guest-fsfreeze"`
	FSTrimClonedDisks *bool   `pve:"fstrim_cloned_disks" doc:"" default:"0"`
	Type              *string `pve:"type" doc:"" enum:"virtio|isa" default:"virtio"`
}
