package qemu

// Config is what a VM is configured with, on the wire as in its file.
type Config struct {
	ACPI               *bool            `pve:"acpi" doc:"" default:"1" priv:"VM.Config.HWType"`
	Affinity           *string          `pve:"affinity" doc:"" format:"pve-cpuset" priv:"root"`
	Agent              *Agent           `pve:"agent" doc:"" priv:"VM.Config.Options"`
	AllowKSM           *bool            `pve:"allow-ksm" doc:"" default:"1" priv:"VM.Config.Memory"`
	AMDSEV             *SEV             `pve:"amd-sev" doc:"" priv:"root" name:"pve-qemu-sev-fmt"`
	Arch               *string          `pve:"arch" doc:"" enum:"x86_64|aarch64" priv:"root"`
	Args               *string          `pve:"args" doc:"" priv:"root"`
	Audio              *Audio           `pve:"audio0" doc:"" priv:"VM.Config.HWType"`
	AutoStart          *bool            `pve:"autostart" doc:"" default:"0" priv:"VM.Config.Options"`
	Balloon            *int             `pve:"balloon" doc:"" min:"0" priv:"VM.Config.Memory"`
	BIOS               *string          `pve:"bios" doc:"" enum:"seabios|ovmf" default:"seabios" priv:"VM.Config.Options"`
	Boot               *Boot            `pve:"boot" doc:"" priv:"VM.Config.Disk" name:"pve-qm-boot"`
	BootDisk           *string          `pve:"bootdisk" doc:"" format:"pve-qm-bootdisk" pattern:"(ide|sata|scsi|virtio)\\d+" priv:"VM.Config.Disk"`
	CDROM              *IDE             `pve:"cdrom" doc:"" typetext:"<volume>" priv:"value"`
	CICustom           *CICustom        `pve:"cicustom" doc:"" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes" name:"pve-qm-cicustom"`
	CIPassword         *string          `pve:"cipassword" doc:"" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	CIType             *string          `pve:"citype" doc:"" enum:"configdrive2|nocloud|opennebula" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	CIUpgrade          *bool            `pve:"ciupgrade" doc:"" default:"1" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	CIUser             *string          `pve:"ciuser" doc:"" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	Cores              *int             `pve:"cores" doc:"" min:"1" default:"1" priv:"VM.Config.CPU"`
	CPU                *CPU             `pve:"cpu" doc:"" priv:"VM.Config.CPU" name:"pve-vm-cpu-conf"`
	CPULimit           *float64         `pve:"cpulimit" doc:"" min:"0" max:"128" default:"0" priv:"VM.Config.CPU"`
	CPUUnits           *int             `pve:"cpuunits" doc:"" min:"1" max:"262144" priv:"VM.Config.CPU"`
	Description        *string          `pve:"description" doc:"" maxlen:"8192" priv:"VM.Config.Options" hotplug:"fast"`
	EFIDisk            *EFIDisk         `pve:"efidisk0" doc:"" priv:"value"`
	Freeze             *bool            `pve:"freeze" doc:"" priv:"VM.PowerMgmt"`
	HookScript         *string          `pve:"hookscript" doc:"" format:"pve-volume-id" priv:"root" hotplug:"fast"`
	HostPCI            map[int]HostPCI  `pve:"hostpci[16]" doc:"" priv:"value" name:"pve-qm-hostpci"`
	Hotplug            *string          `pve:"hotplug" doc:"" format:"pve-hotplug-features" default:"network,disk,usb" priv:"VM.Config.HWType"`
	HugePages          *string          `pve:"hugepages" doc:"" enum:"any|2|1024" priv:"root"`
	IDE                map[int]IDE      `pve:"ide[4]" doc:"" priv:"value"`
	IntelTDX           *TDX             `pve:"intel-tdx" doc:"" priv:"root" name:"pve-qemu-tdx-fmt"`
	IPConfig           map[int]IPConfig `pve:"ipconfig[32]" doc:"" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes" name:"pve-qm-ipconfig"`
	IVSHMem            *IVSHMem         `pve:"ivshmem" doc:"" priv:"root"`
	KeepHugePages      *bool            `pve:"keephugepages" doc:"" default:"0" priv:"root"`
	Keyboard           *string          `pve:"keyboard" doc:"" enum:"de|de-ch|da|en-gb|en-us|es|fi|fr|fr-be|fr-ca|fr-ch|hu|is|it|ja|lt|mk|nl|no|pl|pt|pt-br|sv|sl|tr" priv:"VM.Config.Options"`
	KVM                *bool            `pve:"kvm" doc:"" default:"1" priv:"VM.Config.HWType"`
	LocalTime          *bool            `pve:"localtime" doc:"" priv:"VM.Config.Options"`
	Lock               *string          `pve:"lock" doc:"" enum:"backup|clone|create|migrate|rollback|snapshot|snapshot-delete|suspending|suspended" priv:"root" hotplug:"fast"`
	Machine            *Machine         `pve:"machine" doc:"" priv:"VM.Config.HWType"`
	Memory             *Memory          `pve:"memory" doc:"" priv:"VM.Config.Memory"`
	Meta               *Meta            `pve:"meta" doc:"" priv:"root" internal:"yes"`
	MigrateDowntime    *float64         `pve:"migrate_downtime" doc:"" min:"0" default:"0.1" priv:"VM.Config.Options" hotplug:"fast"`
	MigrateSpeed       *int             `pve:"migrate_speed" doc:"" min:"0" default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	Name               *string          `pve:"name" doc:"" format:"dns-name" priv:"VM.Config.Options" hotplug:"fast"`
	NameServer         *string          `pve:"nameserver" doc:"" format:"address-list" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	Net                map[int]Net      `pve:"net[32]" doc:"" priv:"VM.Config.Network"`
	NUMA               *bool            `pve:"numa" doc:"" default:"0" priv:"VM.Config.CPU"`
	NUMANode           map[int]NUMANode `pve:"numa[8]" doc:"" priv:"VM.Config.CPU"`
	OnBoot             *bool            `pve:"onboot" doc:"" default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	OSType             *string          `pve:"ostype" doc:"" enum:"other|wxp|w2k|w2k3|w2k8|wvista|win7|win8|win10|win11|l24|l26|solaris" default:"other" priv:"VM.Config.Options"`
	Parallel           map[int]string   `pve:"parallel[3]" doc:"" pattern:"/dev/parport\\d+|/dev/usb/lp\\d+" priv:"root"`
	Parent             *string          `pve:"parent" doc:"" format:"pve-configid" maxlen:"40" priv:"root" internal:"yes"`
	Protection         *bool            `pve:"protection" doc:"" default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	Reboot             *bool            `pve:"reboot" doc:"" default:"1" priv:"VM.Config.Options"`
	RNG                *RNG             `pve:"rng0" doc:"" priv:"VM.Config.HWType" name:"pve-qm-rng"`
	RunningNetsHostMTU *string          `pve:"running-nets-host-mtu" doc:"" pattern:"net\\d+=\\d+(,net\\d+=\\d+)*" priv:"VM.Config.Network" internal:"yes"`
	RunningCPU         *string          `pve:"runningcpu" doc:"" pattern:"(?:^((?:[+-]?[\\w\\-\\._=]+,?)+)$)" hint:"QEMU -cpu parameter" priv:"VM.Config.CPU" internal:"yes"`
	RunningMachine     *Machine         `pve:"runningmachine" doc:"" priv:"VM.Config.HWType" internal:"yes"`
	SATA               map[int]SATA     `pve:"sata[6]" doc:"" priv:"value"`
	SCSI               map[int]SCSI     `pve:"scsi[31]" doc:"" priv:"value"`
	SCSIHW             *string          `pve:"scsihw" doc:"" enum:"lsi|lsi53c810|virtio-scsi-pci|virtio-scsi-single|megasas|pvscsi" default:"lsi" priv:"VM.Config.HWType"`
	SearchDomain       *string          `pve:"searchdomain" doc:"" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	Serial             map[int]string   `pve:"serial[4]" doc:"" pattern:"(/dev/[^,]+|socket)" priv:"value"`
	Shares             *int             `pve:"shares" doc:"" min:"0" max:"50000" default:"1000" priv:"VM.Config.Memory" hotplug:"fast"`
	SMBIOS1            *SMBIOS          `pve:"smbios1" doc:"" maxlen:"512" priv:"VM.Config.HWType" name:"pve-qm-smbios1"`
	SMP                *int             `pve:"smp" doc:"" min:"1" default:"1" priv:"VM.Config.CPU"`
	SnapTime           *int             `pve:"snaptime" doc:"" min:"0" priv:"root" internal:"yes"`
	Sockets            *int             `pve:"sockets" doc:"" min:"1" default:"1" priv:"VM.Config.CPU"`
	SpiceEnhancements  *Spice           `pve:"spice_enhancements" doc:"" priv:"root"`
	SSHKeys            *string          `pve:"sshkeys" doc:"" format:"urlencoded" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	StartDate          *string          `pve:"startdate" doc:"" pattern:"(now|\\d{4}-\\d{1,2}-\\d{1,2}(T\\d{1,2}:\\d{1,2}:\\d{1,2})?)" default:"now" typetext:"(now | YYYY-MM-DD | YYYY-MM-DDTHH:MM:SS)" priv:"VM.Config.Options"`
	Startup            *string          `pve:"startup" doc:"" format:"pve-startup-order" typetext:"[[order=]\\d+] [,up=\\d+] [,down=\\d+] " priv:"VM.Config.Options" hotplug:"fast"`
	Tablet             *bool            `pve:"tablet" doc:"" default:"1" priv:"VM.Config.HWType"`
	Tags               *string          `pve:"tags" doc:"" format:"pve-tag-list" priv:"value" hotplug:"fast"`
	TDF                *bool            `pve:"tdf" doc:"" default:"0" priv:"VM.Config.Options"`
	Template           *bool            `pve:"template" doc:"" default:"0" priv:"VM.Config.Options"`
	TPMState           *TPMState        `pve:"tpmstate0" doc:"" priv:"value"`
	Unused             map[int]Unused   `pve:"unused[256]" doc:"" priv:"value"`
	USB                map[int]USB      `pve:"usb[14]" doc:"" priv:"value"`
	VCPUs              *int             `pve:"vcpus" doc:"" min:"1" default:"0" priv:"VM.Config.CPU"`
	VGA                *VGA             `pve:"vga" doc:"" priv:"VM.Config.HWType"`
	VirtIO             map[int]VirtIO   `pve:"virtio[16]" doc:"" priv:"value"`
	VirtioFS           map[int]VirtioFS `pve:"virtiofs[10]" doc:"" priv:"value"`
	VMGenID            *string          `pve:"vmgenid" doc:"" pattern:"(?:[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01])" default:"1 (autogenerated)" hint:"UUID" priv:"root"`
	VMState            *string          `pve:"vmstate" doc:"" format:"pve-volume-id" priv:"VM.Config.Disk&VM.PowerMgmt" internal:"yes"`
	VMStateStorage     *string          `pve:"vmstatestorage" doc:"" format:"pve-storage-id" hint:"storage ID" priv:"VM.Config.Disk" hotplug:"fast"`
	Watchdog           *Watchdog        `pve:"watchdog" doc:"" priv:"VM.Config.HWType" name:"pve-qm-watchdog"`
}
