package qemu

// Audio is the sound card (audio0).
type Audio struct {
	Device string  `pve:"device" doc:"Sound card the guest sees." enum:"ich9-intel-hda|intel-hda|AC97"`
	Driver *string `pve:"driver" doc:"Where the sound goes on the host side." enum:"spice|none" default:"spice"`
}
