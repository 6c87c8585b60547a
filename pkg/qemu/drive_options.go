package qemu

import "github.com/virtsmith/virtsmith/pkg/schema"

// DriveOptions are the options of a drive on any bus. A tag bus names the buses that have it,
// where not all do.
type DriveOptions struct {
	File               string       `pve:"file,default_key" doc:"" format:"pve-volume-id-or-qm-path" hint:"volume" alias:"volume"`
	AIO                *string      `pve:"aio" doc:"" enum:"native|threads|io_uring"`
	Backup             *bool        `pve:"backup" doc:""`
	BPS                *int         `pve:"bps" doc:"" hint:"bps"`
	BPSMaxLength       *int         `pve:"bps_max_length" doc:"" min:"1" hint:"seconds"`
	BPSRead            *int         `pve:"bps_rd" doc:"" hint:"bps"`
	BPSReadMaxLength   *int         `pve:"bps_rd_max_length" doc:"" min:"1" hint:"seconds" alias:"bps_rd_length"`
	BPSWrite           *int         `pve:"bps_wr" doc:"" hint:"bps"`
	BPSWriteMaxLength  *int         `pve:"bps_wr_max_length" doc:"" min:"1" hint:"seconds" alias:"bps_wr_length"`
	Cache              *string      `pve:"cache" doc:"" enum:"none|writethrough|writeback|unsafe|directsync"`
	DetectZeroes       *bool        `pve:"detect_zeroes" doc:""`
	Discard            *string      `pve:"discard" doc:"" enum:"ignore|on"`
	Format             *string      `pve:"format" doc:"" enum:"raw|qcow|qed|qcow2|vmdk|cloop"`
	ImportFrom         *string      `pve:"import-from,input" doc:"" format:"pve-volume-id-or-absolute-path" hint:"source volume"`
	IOPS               *int         `pve:"iops" doc:"" hint:"iops"`
	IOPSMax            *int         `pve:"iops_max" doc:"" hint:"iops"`
	IOPSMaxLength      *int         `pve:"iops_max_length" doc:"" min:"1" hint:"seconds"`
	IOPSRead           *int         `pve:"iops_rd" doc:"" hint:"iops"`
	IOPSReadMax        *int         `pve:"iops_rd_max" doc:"" hint:"iops"`
	IOPSReadMaxLength  *int         `pve:"iops_rd_max_length" doc:"" min:"1" hint:"seconds" alias:"iops_rd_length"`
	IOPSWrite          *int         `pve:"iops_wr" doc:"" hint:"iops"`
	IOPSWriteMax       *int         `pve:"iops_wr_max" doc:"" hint:"iops"`
	IOPSWriteMaxLength *int         `pve:"iops_wr_max_length" doc:"" min:"1" hint:"seconds" alias:"iops_wr_length"`
	IOThread           *bool        `pve:"iothread" doc:"" bus:"scsi virtio"`
	MBPS               *float64     `pve:"mbps" doc:"" hint:"mbps"`
	MBPSMax            *float64     `pve:"mbps_max" doc:"" hint:"mbps"`
	MBPSRead           *float64     `pve:"mbps_rd" doc:"" hint:"mbps"`
	MBPSReadMax        *float64     `pve:"mbps_rd_max" doc:"" hint:"mbps"`
	MBPSWrite          *float64     `pve:"mbps_wr" doc:"" hint:"mbps"`
	MBPSWriteMax       *float64     `pve:"mbps_wr_max" doc:"" hint:"mbps"`
	Media              *string      `pve:"media" doc:"" enum:"cdrom|disk" default:"disk"`
	Model              *string      `pve:"model" doc:"" format:"urlencoded" maxlen:"120" hint:"model" bus:"ide"`
	Product            *string      `pve:"product" doc:"" pattern:"[A-Za-z0-9\\-_\\s]{0,16}" hint:"product" bus:"scsi"`
	Queues             *int         `pve:"queues" doc:"" min:"2" bus:"scsi"`
	Replicate          *bool        `pve:"replicate" doc:"" default:"1"`
	ReadError          *string      `pve:"rerror" doc:"" enum:"ignore|report|stop"`
	ReadOnly           *bool        `pve:"ro" doc:"" bus:"scsi virtio"`
	SCSIBlock          *bool        `pve:"scsiblock" doc:"" default:"0" bus:"scsi"`
	Serial             *string      `pve:"serial" doc:"" format:"urlencoded" maxlen:"60" hint:"serial"`
	Shared             *bool        `pve:"shared" doc:"" default:"0"`
	Size               *schema.Size `pve:"size" doc:"" format:"disk-size" hint:"DiskSize"`
	Snapshot           *bool        `pve:"snapshot" doc:""`
	SSD                *bool        `pve:"ssd" doc:"" bus:"ide sata scsi"`
	Vendor             *string      `pve:"vendor" doc:"" pattern:"[A-Za-z0-9\\-_\\s]{0,8}" hint:"vendor" bus:"scsi"`
	WriteError         *string      `pve:"werror" doc:"" enum:"enospc|ignore|report|stop"`
	WWN                *string      `pve:"wwn" doc:"" pattern:"(?:^(0x)[0-9a-fA-F]{16})" hint:"wwn" bus:"ide sata scsi"`
}
