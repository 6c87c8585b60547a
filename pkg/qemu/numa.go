package qemu

// NUMANode is one NUMA node of the guest (numaN).
type NUMANode struct {
	CPUs      string   `pve:"cpus" doc:"CPUs of the guest that belong to the node." pattern:"(?:\\d+(?:-\\d+)?(?:;\\d+(?:-\\d+)?)*)" hint:"id[-id];..."`
	HostNodes *string  `pve:"hostnodes" doc:"NUMA nodes of the host that give the memory." pattern:"(?:\\d+(?:-\\d+)?(?:;\\d+(?:-\\d+)?)*)" hint:"id[-id];..."`
	Memory    *float64 `pve:"memory" doc:"Memory of the node in MiB."`
	Policy    *string  `pve:"policy" doc:"How strictly memory comes from those host nodes." enum:"preferred|bind|interleave"`
}
