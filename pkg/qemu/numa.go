package qemu

// NUMANode is the value of numaN.
type NUMANode struct {
	CPUs      string   `pve:"cpus" doc:"" pattern:"(?:\\d+(?:-\\d+)?(?:;\\d+(?:-\\d+)?)*)" hint:"id[-id];..."`
	HostNodes *string  `pve:"hostnodes" doc:"" pattern:"(?:\\d+(?:-\\d+)?(?:;\\d+(?:-\\d+)?)*)" hint:"id[-id];..."`
	Memory    *float64 `pve:"memory" doc:""`
	Policy    *string  `pve:"policy" doc:"" enum:"preferred|bind|interleave"`
}
