// Package all lists the types of storage there are.
package all

import (
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
	"github.com/virtsmith/virtsmith/pkg/storage/cephfs"
	"github.com/virtsmith/virtsmith/pkg/storage/cifs"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/glusterfs"
	"github.com/virtsmith/virtsmith/pkg/storage/iscsi"
	"github.com/virtsmith/virtsmith/pkg/storage/iscsidirect"
	"github.com/virtsmith/virtsmith/pkg/storage/lvm"
	"github.com/virtsmith/virtsmith/pkg/storage/lvmthin"
	"github.com/virtsmith/virtsmith/pkg/storage/nfs"
	"github.com/virtsmith/virtsmith/pkg/storage/rbd"
	"github.com/virtsmith/virtsmith/pkg/storage/zfs"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

// Types returns the types, for [storage.Options].
func Types() []storage.Type {
	return []storage.Type{
		btrfs.Type(), cephfs.Type(), cifs.Type(), dir.Type(), glusterfs.Type(), iscsi.Type(), iscsidirect.Type(), lvm.Type(), lvmthin.Type(), nfs.Type(), rbd.Type(),
		zfs.Type(), zfspool.Type(),
	}
}
