package qemu

// Config is what a VM is configured with, on the wire as in its file.
type Config struct {
	ACPI               *bool            `pve:"acpi" doc:"Give the guest ACPI tables." default:"1" priv:"VM.Config.HWType"`
	Affinity           *string          `pve:"affinity" doc:"Host CPUs the VM's threads may run on, such as 0,5,8-11." format:"pve-cpuset" priv:"root"`
	Agent              *Agent           `pve:"agent" doc:"Talk to the QEMU guest agent, and how." priv:"VM.Config.Options"`
	AllowKSM           *bool            `pve:"allow-ksm" doc:"Let the host merge equal memory pages of this VM with others." default:"1" priv:"VM.Config.Memory"`
	AMDSEV             *SEV             `pve:"amd-sev" doc:"Encrypt the guest's memory with AMD SEV." priv:"root" name:"pve-qemu-sev-fmt"`
	Arch               *string          `pve:"arch" doc:"Architecture of the virtual CPU; unset means that of the host." enum:"x86_64|aarch64" priv:"root"`
	Args               *string          `pve:"args" doc:"Arguments added to the QEMU command line as they are; for experts." priv:"root"`
	Audio              *Audio           `pve:"audio0" doc:"Sound card of the guest." priv:"VM.Config.HWType"`
	AutoStart          *bool            `pve:"autostart" doc:"Start the VM again after a crash; kept for old files, has no effect." default:"0" priv:"VM.Config.Options"`
	Balloon            *int             `pve:"balloon" doc:"Memory target of the balloon in MiB; 0 turns the balloon off." min:"0" priv:"VM.Config.Memory"`
	BIOS               *string          `pve:"bios" doc:"Firmware the VM boots with." enum:"seabios|ovmf" default:"seabios" priv:"VM.Config.Options"`
	Boot               *Boot            `pve:"boot" doc:"Which devices the guest may boot from, in which order." priv:"VM.Config.Disk" name:"pve-qm-boot"`
	BootDisk           *BootDisk        `pve:"bootdisk" doc:"Disk to boot from in the old style; use boot with order instead." format:"pve-qm-bootdisk" pattern:"(ide|sata|scsi|virtio)\\d+" priv:"VM.Config.Disk"`
	CDROM              *CDROM           `pve:"cdrom" doc:"CD-ROM drive; another name for ide2." typetext:"<volume>" priv:"value"`
	CICustom           *CICustom        `pve:"cicustom" doc:"Snippet volumes that replace parts of the cloud-init data." priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes" name:"pve-qm-cicustom"`
	CIPassword         *string          `pve:"cipassword" doc:"Password of the cloud-init user; SSH keys are the better choice." priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	CIType             *string          `pve:"citype" doc:"Layout of the cloud-init data; unset means what fits ostype." enum:"configdrive2|nocloud|opennebula" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	CIUpgrade          *bool            `pve:"ciupgrade" doc:"Let cloud-init upgrade the guest's packages on its first boot." default:"1" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	CIUser             *string          `pve:"ciuser" doc:"User whose password and SSH keys are set, instead of the image's own." priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	Cores              *int             `pve:"cores" doc:"CPU cores per socket." min:"1" default:"1" priv:"VM.Config.CPU"`
	CPU                *CPU             `pve:"cpu" doc:"CPU model and flags the guest sees." priv:"VM.Config.CPU" name:"pve-vm-cpu-conf"`
	CPULimit           *float64         `pve:"cpulimit" doc:"Most CPU time the VM may use, in host CPUs; 0 means no limit." min:"0" max:"128" default:"0" priv:"VM.Config.CPU"`
	CPUUnits           *int             `pve:"cpuunits" doc:"Weight of the VM when CPU time is short, in cgroup units." min:"1" max:"262144" priv:"VM.Config.CPU"`
	Description        *string          `pve:"description" doc:"Notes about the VM, kept as comment lines atop its file." maxlen:"8192" priv:"VM.Config.Options" hotplug:"fast"`
	EFIDisk            *EFIDisk         `pve:"efidisk0" doc:"Disk that holds the EFI variables." priv:"value"`
	Freeze             *bool            `pve:"freeze" doc:"Leave the CPU stopped at start until it is told to continue." priv:"VM.PowerMgmt"`
	HookScript         *string          `pve:"hookscript" doc:"Snippet volume with a script to run at steps of the VM's life." format:"pve-volume-id" priv:"root" hotplug:"fast"`
	HostPCI            map[int]HostPCI  `pve:"hostpci[16]" doc:"PCI device of the host handed through to the guest." priv:"value" name:"pve-qm-hostpci"`
	Hotplug            *string          `pve:"hotplug" doc:"What may change while the VM runs; 0 is nothing, 1 the default set." format:"pve-hotplug-features" default:"network,disk,usb" priv:"VM.Config.HWType"`
	HugePages          *string          `pve:"hugepages" doc:"Back the memory with huge pages of this many MiB." enum:"any|2|1024" priv:"root"`
	IDE                map[int]IDE      `pve:"ide[4]" doc:"Disk or CD-ROM drive on the IDE bus." priv:"value"`
	IntelTDX           *TDX             `pve:"intel-tdx" doc:"Protect the guest with Intel TDX." priv:"root" name:"pve-qemu-tdx-fmt"`
	IPConfig           map[int]IPConfig `pve:"ipconfig[32]" doc:"Addresses and gateways of the net device with the same number." priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes" name:"pve-qm-ipconfig"`
	IVSHMem            *IVSHMem         `pve:"ivshmem" doc:"Memory shared between VMs, and with the host." priv:"root"`
	KeepHugePages      *bool            `pve:"keephugepages" doc:"Keep the huge pages reserved after the VM stopped." default:"0" priv:"root"`
	Keyboard           *string          `pve:"keyboard" doc:"Keyboard layout of the VNC console; unset leaves it to the client." enum:"de|de-ch|da|en-gb|en-us|es|fi|fr|fr-be|fr-ca|fr-ch|hu|is|it|ja|lt|mk|nl|no|pl|pt|pt-br|sv|sl|tr" priv:"VM.Config.Options"`
	KVM                *bool            `pve:"kvm" doc:"Use the host's hardware virtualization." default:"1" priv:"VM.Config.HWType"`
	LocalTime          *bool            `pve:"localtime" doc:"Run the clock in local time; unset means yes for Windows ostypes." priv:"VM.Config.Options"`
	Lock               *string          `pve:"lock" doc:"What the VM is locked for." enum:"backup|clone|create|migrate|rollback|snapshot|snapshot-delete|suspending|suspended" priv:"root" hotplug:"fast"`
	Machine            *Machine         `pve:"machine" doc:"Machine type the guest sees." priv:"VM.Config.HWType"`
	Memory             *Memory          `pve:"memory" doc:"Memory of the VM in MiB." priv:"VM.Config.Memory"`
	Meta               *Meta            `pve:"meta" doc:"Facts about how the VM came to be." priv:"root" internal:"yes"`
	MigrateDowntime    *float64         `pve:"migrate_downtime" doc:"Longest pause accepted at the end of a migration, in seconds." min:"0" default:"0.1" priv:"VM.Config.Options" hotplug:"fast"`
	MigrateSpeed       *int             `pve:"migrate_speed" doc:"Most bandwidth for a migration, in MiB/s; 0 means no limit." min:"0" default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	Name               *string          `pve:"name" doc:"Name of the VM, which is also its host name for cloud-init." format:"dns-name" priv:"VM.Config.Options" hotplug:"fast"`
	NameServer         *string          `pve:"nameserver" doc:"DNS servers for cloud-init; unset means those of the host." format:"address-list" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	Net                map[int]Net      `pve:"net[32]" doc:"Network card of the guest." priv:"VM.Config.Network"`
	NUMA               *bool            `pve:"numa" doc:"Show the guest NUMA nodes." default:"0" priv:"VM.Config.CPU"`
	NUMANode           map[int]NUMANode `pve:"numa[8]" doc:"CPUs and memory of one NUMA node of the guest." priv:"VM.Config.CPU"`
	OnBoot             *bool            `pve:"onboot" doc:"Start the VM when the node boots." default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	OSType             *string          `pve:"ostype" doc:"Operating system of the guest; tunes devices and timers for it." enum:"other|wxp|w2k|w2k3|w2k8|wvista|win7|win8|win10|win11|l24|l26|solaris" default:"other" priv:"VM.Config.Options"`
	Parallel           map[int]string   `pve:"parallel[3]" doc:"Parallel port of the host handed through to the guest." pattern:"/dev/parport\\d+|/dev/usb/lp\\d+" priv:"root"`
	Parent             *string          `pve:"parent" doc:"Snapshot that the present state grew from." format:"pve-configid" maxlen:"40" priv:"root" internal:"yes"`
	Protection         *bool            `pve:"protection" doc:"Refuse to remove the VM or its disks." default:"0" priv:"VM.Config.Options" hotplug:"fast"`
	Reboot             *bool            `pve:"reboot" doc:"Let the guest reboot; otherwise a reboot ends the VM." default:"1" priv:"VM.Config.Options"`
	RNG                *RNG             `pve:"rng0" doc:"Random number generator fed by the host." priv:"VM.Config.HWType" name:"pve-qm-rng"`
	RunningNetsHostMTU *string          `pve:"running-nets-host-mtu" doc:"MTU that virtio cards took from their bridges when last started." pattern:"net\\d+=\\d+(,net\\d+=\\d+)*" priv:"VM.Config.Network" internal:"yes"`
	RunningCPU         *string          `pve:"runningcpu" doc:"CPU argument QEMU ran with when the state was saved." pattern:"(?:^((?:[+-]?[\\w\\-\\._=]+,?)+)$)" hint:"QEMU -cpu parameter" priv:"VM.Config.CPU" internal:"yes"`
	RunningMachine     *Machine         `pve:"runningmachine" doc:"Machine type QEMU ran with when the state was saved." priv:"VM.Config.HWType" internal:"yes"`
	SATA               map[int]SATA     `pve:"sata[6]" doc:"Disk or CD-ROM drive on the SATA bus." priv:"value"`
	SCSI               map[int]SCSI     `pve:"scsi[31]" doc:"Disk or CD-ROM drive on the SCSI bus." priv:"value"`
	SCSIHW             *string          `pve:"scsihw" doc:"Model of the SCSI controller." enum:"lsi|lsi53c810|virtio-scsi-pci|virtio-scsi-single|megasas|pvscsi" default:"lsi" priv:"VM.Config.HWType"`
	SearchDomain       *string          `pve:"searchdomain" doc:"DNS search domain for cloud-init; unset means that of the host." priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	Serial             map[int]string   `pve:"serial[4]" doc:"Serial port: a host device handed through, or a socket on the host." pattern:"(/dev/[^,]+|socket)" priv:"value"`
	Shares             *int             `pve:"shares" doc:"Weight in automatic ballooning; 0 turns automatic ballooning off." min:"0" max:"50000" default:"1000" priv:"VM.Config.Memory" hotplug:"fast"`
	SMBIOS1            *SMBIOS          `pve:"smbios1" doc:"System information of the SMBIOS table, type 1." maxlen:"512" priv:"VM.Config.HWType" name:"pve-qm-smbios1"`
	SMP                *int             `pve:"smp" doc:"CPU count in the old style; use sockets and cores instead." min:"1" default:"1" priv:"VM.Config.CPU"`
	SnapTime           *int             `pve:"snaptime" doc:"When the snapshot was taken, in seconds since 1970." min:"0" priv:"root" internal:"yes"`
	Sockets            *int             `pve:"sockets" doc:"CPU sockets." min:"1" default:"1" priv:"VM.Config.CPU"`
	SpiceEnhancements  *Spice           `pve:"spice_enhancements" doc:"Extras of the SPICE console." priv:"root"`
	SSHKeys            *string          `pve:"sshkeys" doc:"Public SSH keys for cloud-init, one per line, URL encoded." format:"urlencoded" priv:"VM.Config.Cloudinit|VM.Config.Network" hotplug:"fast" cloudinit:"yes"`
	StartDate          *string          `pve:"startdate" doc:"Time the guest's clock starts at." pattern:"(now|\\d{4}-\\d{1,2}-\\d{1,2}(T\\d{1,2}:\\d{1,2}:\\d{1,2})?)" default:"now" typetext:"(now | YYYY-MM-DD | YYYY-MM-DDTHH:MM:SS)" priv:"VM.Config.Options"`
	Startup            *string          `pve:"startup" doc:"Place in the start order, and delays around start and stop in seconds." format:"pve-startup-order" typetext:"[[order=]\\d+] [,up=\\d+] [,down=\\d+] " priv:"VM.Config.Options" hotplug:"fast"`
	Tablet             *bool            `pve:"tablet" doc:"Give the guest a USB tablet, so that the pointer follows the viewer's." default:"1" priv:"VM.Config.HWType"`
	Tags               *string          `pve:"tags" doc:"Tags of the VM, for people and filters." format:"pve-tag-list" priv:"value" hotplug:"fast"`
	TDF                *bool            `pve:"tdf" doc:"Correct the drift of the guest's clock." default:"0" priv:"VM.Config.Options"`
	Template           *bool            `pve:"template" doc:"Mark the VM as a template, which is cloned but never started." default:"0" priv:"VM.Config.Options"`
	TPMState           *TPMState        `pve:"tpmstate0" doc:"Disk that holds the state of the TPM." priv:"value"`
	Unused             map[int]Unused   `pve:"unused[256]" doc:"Volume that belongs to the VM but is not attached." priv:"value"`
	USB                map[int]USB      `pve:"usb[14]" doc:"USB device of the host, or a SPICE redirection port." priv:"value"`
	VCPUs              *int             `pve:"vcpus" doc:"CPUs plugged in at start; the others can be added while it runs." min:"1" default:"0" priv:"VM.Config.CPU"`
	VGA                *VGA             `pve:"vga" doc:"Graphics card of the guest." priv:"VM.Config.HWType"`
	VirtIO             map[int]VirtIO   `pve:"virtio[16]" doc:"Disk on its own virtio block device." priv:"value"`
	VirtioFS           map[int]VirtioFS `pve:"virtiofs[10]" doc:"Directory of the host shared with the guest through virtiofs." priv:"value"`
	VMGenID            *string          `pve:"vmgenid" doc:"Generation id that tells the guest it was cloned or rolled back." pattern:"(?:[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01])" default:"1 (autogenerated)" hint:"UUID" priv:"root"`
	VMState            *string          `pve:"vmstate" doc:"Volume with the RAM of a saved state." format:"pve-volume-id" priv:"VM.Config.Disk&VM.PowerMgmt" internal:"yes"`
	VMStateStorage     *string          `pve:"vmstatestorage" doc:"Storage for the RAM of suspended VMs and of snapshots." format:"pve-storage-id" hint:"storage ID" priv:"VM.Config.Disk" hotplug:"fast"`
	Watchdog           *Watchdog        `pve:"watchdog" doc:"Watchdog device that acts when the guest hangs." priv:"VM.Config.HWType" name:"pve-qm-watchdog"`
}
