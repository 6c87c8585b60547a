package qmp

import "time"

// Patience returns how long an answer to the given command of the monitor or the
// guest agent may take. Most are answered at once or never; the rest do work
// before they answer. The values are upstream's, so that a hung guest is
// reported as soon, and a slow one waited for as long, as its users know it.
func Patience(command string) time.Duration {
	switch command {
	case "eject", "change", "blockdev-change-medium", "blockdev-open-tray", "blockdev-close-tray":
		return time.Minute
	case "guest-fsfreeze-freeze":
		// It syncs all file systems, and a freeze that is given up half-way
		// leaves a guest that cannot be thawed.
		return time.Hour
	case "guest-fsfreeze-thaw":
		return 10 * time.Second
	case "guest-fstrim":
		return 10 * time.Minute
	case "block_resize", "query-block-jobs", "query-jobs", "block-job-cancel", "block-job-complete", "job-cancel", "job-complete",
		"job-finalize", "job-dismiss", "drive-mirror", "blockdev-mirror", "blockdev-backup", "blockdev-add", "blockdev-del", "blockdev-reopen",
		"blockdev-snapshot", "blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync", "snapshot-save", "snapshot-load",
		"snapshot-delete", "transaction", "human-monitor-command":
		// These wait until requests in flight have drained, or for a disk that is slow.
		return 10 * time.Minute
	}
	return 5 * time.Second
}
