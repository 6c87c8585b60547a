package qemu

import "github.com/virtsmith/virtsmith/pkg/schema"

// DriveOptions are the options of a drive on any bus. A tag bus names the buses that have it,
// where not all do.
type DriveOptions struct {
	File               string       `pve:"file,default_key" doc:"Volume behind the drive, none for empty, or STORAGE:GiB for a new one." format:"pve-volume-id-or-qm-path" hint:"volume" alias:"volume"`
	AIO                *string      `pve:"aio" doc:"How QEMU issues asynchronous I/O." enum:"native|threads|io_uring"`
	Backup             *bool        `pve:"backup" doc:"Include the drive in backups."`
	BPS                *int         `pve:"bps" doc:"Limit for reading and writing together, in bytes per second." hint:"bps"`
	BPSMaxLength       *int         `pve:"bps_max_length" doc:"Longest burst above the read and write limit, in seconds." min:"1" hint:"seconds"`
	BPSRead            *int         `pve:"bps_rd" doc:"Limit for reading, in bytes per second." hint:"bps"`
	BPSReadMaxLength   *int         `pve:"bps_rd_max_length" doc:"Longest burst above the read limit, in seconds." min:"1" hint:"seconds" alias:"bps_rd_length"`
	BPSWrite           *int         `pve:"bps_wr" doc:"Limit for writing, in bytes per second." hint:"bps"`
	BPSWriteMaxLength  *int         `pve:"bps_wr_max_length" doc:"Longest burst above the write limit, in seconds." min:"1" hint:"seconds" alias:"bps_wr_length"`
	Cache              *string      `pve:"cache" doc:"How the host caches the drive." enum:"none|writethrough|writeback|unsafe|directsync"`
	DetectZeroes       *bool        `pve:"detect_zeroes" doc:"Turn writes of zeroes into holes, or into discards where they pass."`
	Discard            *string      `pve:"discard" doc:"Pass the guest's discard requests on to the storage." enum:"ignore|on"`
	Format             *string      `pve:"format" doc:"Format of the image behind the drive." enum:"raw|qcow|qed|qcow2|vmdk|cloop"`
	ImportFrom         *string      `pve:"import-from,input" doc:"Volume or absolute path to copy into the new drive." format:"pve-volume-id-or-absolute-path" hint:"source volume"`
	IOPS               *int         `pve:"iops" doc:"Limit for reading and writing together, in operations per second." hint:"iops"`
	IOPSMax            *int         `pve:"iops_max" doc:"Burst limit for reading and writing, in operations per second." hint:"iops"`
	IOPSMaxLength      *int         `pve:"iops_max_length" doc:"Longest burst of reads and writes, in seconds." min:"1" hint:"seconds"`
	IOPSRead           *int         `pve:"iops_rd" doc:"Limit for reading, in operations per second." hint:"iops"`
	IOPSReadMax        *int         `pve:"iops_rd_max" doc:"Burst limit for reading, in operations per second." hint:"iops"`
	IOPSReadMaxLength  *int         `pve:"iops_rd_max_length" doc:"Longest burst of reads, in seconds." min:"1" hint:"seconds" alias:"iops_rd_length"`
	IOPSWrite          *int         `pve:"iops_wr" doc:"Limit for writing, in operations per second." hint:"iops"`
	IOPSWriteMax       *int         `pve:"iops_wr_max" doc:"Burst limit for writing, in operations per second." hint:"iops"`
	IOPSWriteMaxLength *int         `pve:"iops_wr_max_length" doc:"Longest burst of writes, in seconds." min:"1" hint:"seconds" alias:"iops_wr_length"`
	IOThread           *bool        `pve:"iothread" doc:"Serve the drive from a thread of its own." bus:"scsi virtio"`
	MBPS               *float64     `pve:"mbps" doc:"Limit for reading and writing together, in MiB/s." hint:"mbps"`
	MBPSMax            *float64     `pve:"mbps_max" doc:"Burst limit for reading and writing, in MiB/s." hint:"mbps"`
	MBPSRead           *float64     `pve:"mbps_rd" doc:"Limit for reading, in MiB/s." hint:"mbps"`
	MBPSReadMax        *float64     `pve:"mbps_rd_max" doc:"Burst limit for reading, in MiB/s." hint:"mbps"`
	MBPSWrite          *float64     `pve:"mbps_wr" doc:"Limit for writing, in MiB/s." hint:"mbps"`
	MBPSWriteMax       *float64     `pve:"mbps_wr_max" doc:"Burst limit for writing, in MiB/s." hint:"mbps"`
	Media              *string      `pve:"media" doc:"Whether the drive is a disk or a CD-ROM." enum:"cdrom|disk" default:"disk"`
	Model              *string      `pve:"model" doc:"Model name the drive reports, URL encoded, up to 40 bytes." format:"urlencoded" maxlen:"120" hint:"model" bus:"ide"`
	Product            *string      `pve:"product" doc:"Product name the drive reports, up to 16 characters." pattern:"[A-Za-z0-9\\-_\\s]{0,16}" hint:"product" bus:"scsi"`
	Queues             *int         `pve:"queues" doc:"Number of queues of the drive's controller." min:"2" bus:"scsi"`
	Replicate          *bool        `pve:"replicate" doc:"Include the drive in replication jobs." default:"1"`
	ReadError          *string      `pve:"rerror" doc:"What to do when reading fails." enum:"ignore|report|stop"`
	ReadOnly           *bool        `pve:"ro" doc:"Refuse writes of the guest." bus:"scsi virtio"`
	SCSIBlock          *bool        `pve:"scsiblock" doc:"Pass the host's block device through as a whole SCSI device." default:"0" bus:"scsi"`
	Serial             *string      `pve:"serial" doc:"Serial number the drive reports, URL encoded, up to 20 bytes." format:"urlencoded" maxlen:"60" hint:"serial"`
	Shared             *bool        `pve:"shared" doc:"Say that a volume of no storage is reachable from every node." default:"0"`
	Size               *schema.Size `pve:"size" doc:"Size of the volume, as last seen; changing it resizes nothing." format:"disk-size" hint:"DiskSize"`
	Snapshot           *bool        `pve:"snapshot" doc:"Throw away all writes when the VM stops."`
	SSD                *bool        `pve:"ssd" doc:"Show the drive as a solid state disk instead of a spinning one." bus:"ide sata scsi"`
	Vendor             *string      `pve:"vendor" doc:"Vendor name the drive reports, up to 8 characters." pattern:"[A-Za-z0-9\\-_\\s]{0,8}" hint:"vendor" bus:"scsi"`
	WriteError         *string      `pve:"werror" doc:"What to do when writing fails." enum:"enospc|ignore|report|stop"`
	WWN                *string      `pve:"wwn" doc:"World wide name the drive reports: 0x and 16 hex digits." pattern:"(?:^(0x)[0-9a-fA-F]{16})" hint:"wwn" bus:"ide sata scsi"`
}
