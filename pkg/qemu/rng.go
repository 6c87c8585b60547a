package qemu

// RNG is a random number generator fed by the host (rng0).
type RNG struct {
	Source   string `pve:"source,default_key" doc:"File on the host that gives the random bytes." enum:"/dev/urandom|/dev/random|/dev/hwrng"`
	MaxBytes *int   `pve:"max_bytes" doc:"Most bytes the guest may take per period; 0 means no limit." default:"1024"`
	Period   *int   `pve:"period" doc:"Length of a period in milliseconds." default:"1000"`
}
