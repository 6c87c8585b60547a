package qemu

// Audio is the value of audio0.
type Audio struct {
	Device string  `pve:"device" doc:"" enum:"ich9-intel-hda|intel-hda|AC97"`
	Driver *string `pve:"driver" doc:"" enum:"spice|none" default:"spice"`
}
