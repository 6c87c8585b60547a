package container

// Features are what a container may do beyond the ordinary (features).
type Features struct {
	ForceRWSys *bool   `pve:"force_rw_sys" doc:"Mount /sys writable in an unprivileged container." default:"0"`
	FUSE       *bool   `pve:"fuse" doc:"Give the container /dev/fuse." default:"0"`
	KeyCtl     *bool   `pve:"keyctl" doc:"Allow the keyctl system call in an unprivileged container." default:"0"`
	MkNod      *bool   `pve:"mknod" doc:"Let an unprivileged container make some device nodes." default:"0"`
	Mount      *string `pve:"mount" doc:"File systems that the container may mount, separated by semicolons." pattern:"(?:[a-zA-Z0-9_; ]+)" hint:"fstype;fstype;..."`
	Nesting    *bool   `pve:"nesting" doc:"Let the container run containers: it sees the host's proc and sys." default:"0"`
}
