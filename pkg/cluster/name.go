package cluster

// Names of files that the cluster shares, relative to /etc/pve, for [Client.ReadOptional]
// and [Client.WriteFile].
const (
	StorageFile     = "storage.cfg"                   // the storages
	UserFile        = "user.cfg"                      // users, groups, roles, pools and rights
	JobsFile        = "jobs.cfg"                      // jobs that run by a calendar
	ReplicationFile = "replication.cfg"               // which guests are replicated where
	HAResourceFile  = "ha/resources.cfg"              // what high availability looks after
	HARulesFile     = "ha/rules.cfg"                  // where it may run
	HAGroupFile     = "ha/groups.cfg"                 // the same, as it was before rules
	CPUModelFile    = "virtual-guest/cpu-models.conf" // CPU models of one's own
	PCIMappingFile  = "mapping/pci.cfg"               // PCI devices by a name for all nodes
	USBMappingFile  = "mapping/usb.cfg"               // USB devices, likewise
	DirMappingFile  = "mapping/directory.cfg"         // folders, likewise
)
