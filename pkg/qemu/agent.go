package qemu

// Agent says whether the QEMU guest agent is expected, and what it is used for (agent).
type Agent struct {
	Enabled           bool    `pve:"enabled,default_key" doc:"Expect a QEMU guest agent to run inside the guest." default:"0"`
	FreezeFS          *bool   `pve:"freeze-fs" doc:"Freeze the guest's file systems while a backup or snapshot is taken." default:"1" alias:"freeze-fs-on-backup guest-fsfreeze"`
	FSTrimClonedDisks *bool   `pve:"fstrim_cloned_disks" doc:"Trim the guest's file systems after a disk was moved or migrated." default:"0"`
	Type              *string `pve:"type" doc:"Kind of channel the agent listens on." enum:"virtio|isa" default:"virtio"`
}
