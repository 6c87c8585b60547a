package container

// RootFS is the volume that is the root of a container (rootfs).
type RootFS struct {
	Volume       string  `pve:"volume,default_key" doc:"Volume, folder or device to mount." format:"pve-lxc-mp-string" hint:"volume"`
	ACL          *bool   `pve:"acl" doc:"Turn POSIX ACLs on or off."`
	IDMap        *string `pve:"idmap" doc:"How owners on disk become those in the container; passthrough for as they are." pattern:"(?:^(?:passthrough|[ug]:[0-9]+:[0-9]+:[1-9][0-9]*(?:;[ug]:[0-9]+:[0-9]+:[1-9][0-9]*)*)$)" hint:"type:container:disk:range-size[;type:container:disk:range-size;...]"`
	MountOptions *string `pve:"mountoptions" doc:"Mount options, separated by semicolons." pattern:"(?:(?:(discard|lazytime|noatime|nodev|noexec|nosuid))(;(?:(discard|lazytime|noatime|nodev|noexec|nosuid)))*)" hint:"opt[;opt...]"`
	Quota        *bool   `pve:"quota" doc:"Let the container keep quotas of its users."`
	Replicate    *bool   `pve:"replicate" doc:"Take part in replication." default:"1"`
	RO           *bool   `pve:"ro" doc:"Mount it read-only."`
	Shared       *bool   `pve:"shared" doc:"Say that it is the same on all nodes." default:"0"`
	Size         *string `pve:"size" doc:"Size of the volume; only for show." format:"disk-size" hint:"DiskSize"`
}

// MountPoint is a volume, or a folder or device of the host, mounted in a container (mpN).
type MountPoint struct {
	Volume       string  `pve:"volume,default_key" doc:"Volume, folder or device to mount." format:"pve-lxc-mp-string" hint:"volume"`
	MP           string  `pve:"mp" doc:"Where it is mounted in the container." format:"pve-lxc-mp-string" hint:"Path"`
	ACL          *bool   `pve:"acl" doc:"Turn POSIX ACLs on or off."`
	Backup       *bool   `pve:"backup" doc:"Make it part of backups; only for volumes."`
	IDMap        *string `pve:"idmap" doc:"How owners on disk become those in the container; passthrough for as they are." pattern:"(?:^(?:passthrough|[ug]:[0-9]+:[0-9]+:[1-9][0-9]*(?:;[ug]:[0-9]+:[0-9]+:[1-9][0-9]*)*)$)" hint:"type:container:disk:range-size[;type:container:disk:range-size;...]"`
	KeepAttrs    *bool   `pve:"keepattrs" doc:"Give the mounted folder the owner and mode of the one it covers." default:"0"`
	MountOptions *string `pve:"mountoptions" doc:"Mount options, separated by semicolons." pattern:"(?:(?:(discard|lazytime|noatime|nodev|noexec|nosuid))(;(?:(discard|lazytime|noatime|nodev|noexec|nosuid)))*)" hint:"opt[;opt...]"`
	Quota        *bool   `pve:"quota" doc:"Let the container keep quotas of its users."`
	Replicate    *bool   `pve:"replicate" doc:"Take part in replication." default:"1"`
	RO           *bool   `pve:"ro" doc:"Mount it read-only."`
	Shared       *bool   `pve:"shared" doc:"Say that it is the same on all nodes." default:"0"`
	Size         *string `pve:"size" doc:"Size of the volume; only for show." format:"disk-size" hint:"DiskSize"`
}

// Unused is a volume of the container that is not mounted (unusedN).
type Unused struct {
	Volume string `pve:"volume,default_key" doc:"Volume that is not mounted." format:"pve-volume-id" hint:"volume"`
}
