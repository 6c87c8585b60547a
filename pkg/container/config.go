package container

// Config is what a container is configured with, on the wire as in its file.
type Config struct {
	Arch         *string            `pve:"arch" doc:"Architecture of the programs in the container." enum:"amd64|i386|arm64|armhf|riscv32|riscv64" default:"amd64" priv:"VM.Config.Options"`
	CMode        *string            `pve:"cmode" doc:"What a console opens: a login on a tty, the console, or a shell without login." enum:"shell|console|tty" default:"tty" priv:"VM.Config.Options"`
	Console      *bool              `pve:"console" doc:"Give the container a /dev/console." default:"1" priv:"VM.Config.Options"`
	Cores        *int               `pve:"cores" doc:"CPU cores the container sees; unset means all of the host." min:"1" max:"8192" priv:"VM.Config.CPU" hotplug:"fast"`
	CPULimit     *float64           `pve:"cpulimit" doc:"Most CPU time the container may use, in host CPUs; 0 means no limit." min:"0" max:"8192" default:"0" priv:"VM.Config.CPU"`
	CPUUnits     *int               `pve:"cpuunits" doc:"Weight of the container when CPU time is short, in cgroup units." min:"0" max:"500000" priv:"VM.Config.CPU"`
	Debug        *bool              `pve:"debug" doc:"Write a log of LXC at the start, with all its details." default:"0" priv:"VM.Config.Options"`
	Description  *string            `pve:"description" doc:"Notes about the container, kept as comment lines atop its file." maxlen:"8192" priv:"VM.Config.Options" hotplug:"fast"`
	Device       map[int]Device     `pve:"dev[256]" doc:"Device of the host handed through to the container." priv:"root"`
	Entrypoint   *string            `pve:"entrypoint" doc:"Command that the container runs as its init, with arguments." pattern:"(?:[^\\x00-\\x08\\x0a-\\x1F\\x7F]+)" default:"/sbin/init" priv:"VM.Config.Options"`
	Env          *string            `pve:"env" doc:"Environment of the container's init: NAME=value, separated by NUL." pattern:"(?:(?:\\w+=[^\\x00-\\x08\\x0a-\\x1F\\x7F]*)(?:\\0\\w+=[^\\x00-\\x08\\x0a-\\x1F\\x7F]*)*)" priv:"VM.Config.Options"`
	Features     *Features          `pve:"features" doc:"What the container may do beyond the ordinary." priv:"value"`
	HookScript   *string            `pve:"hookscript" doc:"Snippet volume with a script to run at steps of the container's life." format:"pve-volume-id" priv:"root" hotplug:"fast"`
	Hostname     *string            `pve:"hostname" doc:"Host name of the container." format:"dns-name" maxlen:"255" priv:"VM.Config.Network" hotplug:"fast"`
	Lock         *string            `pve:"lock" doc:"What the container is locked for." enum:"backup|create|destroyed|disk|fstrim|migrate|mounted|rollback|snapshot|snapshot-delete" priv:"VM.Config.Options" hotplug:"fast"`
	Memory       *int               `pve:"memory" doc:"Most memory the container may use, in MiB." min:"16" default:"512" priv:"VM.Config.Memory"`
	MountPoint   map[int]MountPoint `pve:"mp[256]" doc:"Volume, folder or device of the host, mounted in the container." priv:"value" name:"pve-ct-mountpoint"`
	Nameserver   *string            `pve:"nameserver" doc:"DNS servers; unset means those of the host." format:"lxc-ip-with-ll-iface-list" priv:"VM.Config.Network"`
	Net          map[int]Net        `pve:"net[32]" doc:"Network card of the container." priv:"VM.Config.Network" name:"pve-lxc-network"`
	OnBoot       *bool              `pve:"onboot" doc:"Start the container when the node boots." default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	OSType       *string            `pve:"ostype" doc:"Distribution, which says how the container is set up; unmanaged leaves it alone." enum:"debian|devuan|ubuntu|centos|fedora|opensuse|archlinux|alpine|gentoo|nixos|unmanaged" priv:"VM.Config.Options"`
	Parent       *string            `pve:"parent" doc:"Snapshot that the present state grew from." format:"pve-configid" maxlen:"40" priv:"VM.Config.Options" internal:"yes"`
	Protection   *bool              `pve:"protection" doc:"Refuse to remove the container or its volumes." default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	RootFS       *RootFS            `pve:"rootfs" doc:"Volume that is the root of the container." priv:"value"`
	SearchDomain *string            `pve:"searchdomain" doc:"DNS search domains; unset means those of the host." format:"dns-name-list" priv:"VM.Config.Network"`
	SnapTime     *int               `pve:"snaptime" doc:"When the snapshot was taken, in seconds since 1970." min:"0" priv:"VM.Config.Options" internal:"yes"`
	Startup      *string            `pve:"startup" doc:"Place in the start order, and delays around start and stop in seconds." format:"pve-startup-order" typetext:"[[order=]\\d+] [,up=\\d+] [,down=\\d+] " priv:"VM.Config.Options" hotplug:"fast"`
	Swap         *int               `pve:"swap" doc:"Most swap space the container may use, in MiB." min:"0" default:"512" priv:"VM.Config.Memory"`
	Tags         *string            `pve:"tags" doc:"Tags of the container, for people and filters." format:"pve-tag-list" priv:"value" hotplug:"fast"`
	Template     *bool              `pve:"template" doc:"Mark the container as a template, which is cloned but never started." default:"0" priv:"VM.Config.Options"`
	Timezone     *string            `pve:"timezone" doc:"Time zone set in the container; host takes that of the host." format:"pve-ct-timezone" priv:"VM.Config.Options"`
	TTY          *int               `pve:"tty" doc:"Number of ttys the container gets." min:"0" max:"6" default:"2" priv:"VM.Config.Options"`
	Unprivileged *bool              `pve:"unprivileged" doc:"Run as a user who is not root on the host; only a restore can change it." default:"0" priv:"VM.Config.Options"`
	Unused       map[int]Unused     `pve:"unused[256]" doc:"Volume that belongs to the container but is not mounted." priv:"VM.Config.Options"`
}
