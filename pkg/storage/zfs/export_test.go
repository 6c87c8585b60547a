package zfs

import (
	"time"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// TypeWith is [Type] with another way to servers.
func TypeWith(ssh, port string, look, change time.Duration) storage.Type {
	return typeOf(way{ssh: ssh, port: port, look: look, change: change})
}
