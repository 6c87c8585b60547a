package qemu

// RNG is the value of rng0.
type RNG struct {
	Source   string `pve:"source,default_key" doc:"" enum:"/dev/urandom|/dev/random|/dev/hwrng"`
	MaxBytes *int   `pve:"max_bytes" doc:"" default:"1024"`
	Period   *int   `pve:"period" doc:"" default:"1000"`
}
