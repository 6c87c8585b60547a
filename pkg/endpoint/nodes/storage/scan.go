package storage

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage/cifs"
	"github.com/virtsmith/virtsmith/pkg/storage/iscsi"
	"github.com/virtsmith/virtsmith/pkg/storage/lvm"
	"github.com/virtsmith/virtsmith/pkg/storage/lvmthin"
	"github.com/virtsmith/virtsmith/pkg/storage/nfs"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

func (s *Service) scanMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "index", Verb: "GET", Path: "/nodes/{node}/scan", Doc: "List what can be looked for.",
			Permissions: api.Permissions{User: "all"},
		}, s.scans),
		api.New(scan("cifs", "List the shares of an SMB server."), s.scanCIFS),
		api.New(scan("iscsi", "List the targets of an iSCSI portal."), s.scanISCSI),
		api.New(scan("lvm", "List the volume groups of the node."), s.scanLVM),
		api.New(scan("lvmthin", "List the thin pools of a volume group."), s.scanLVMThin),
		api.New(scan("nfs", "List the exports of an NFS server."), s.scanNFS),
		api.New(scan("zfs", "List the ZFS pools of the node."), s.scanZFS),
	}
}

// scan declares the method that looks for what a type of storage could use.
func scan(kind, doc string) api.Method {
	return api.Method{
		Name: kind + "scan", Verb: "GET", Path: "/nodes/{node}/scan/" + kind, Doc: doc, ProxyTo: "node", Protected: true,
		Permissions: api.Permissions{Check: api.Perm("/storage", "Datastore.Allocate")},
	}
}

// onNode names the node that looks.
type onNode struct {
	Node id.Node `pve:"node"`
}

// A method is one of the methods below.
type method struct {
	Method string `pve:"method"`
}

func (s *Service) scans(context.Context, onNode) ([]method, error) {
	return []method{{"cifs"}, {"iscsi"}, {"lvm"}, {"lvmthin"}, {"nfs"}, {"zfs"}}, nil
}

type scanCIFSRequest struct {
	onNode
	Domain   *string `pve:"domain" doc:"Domain of the user."`
	Password *string `pve:"password" doc:"Password of the user."`
	Server   string  `pve:"server" format:"pve-storage-server" doc:"Name or address of the server."`
	Username *string `pve:"username" doc:"Who asks; a guest without it."`
}

func (s *Service) scanCIFS(ctx context.Context, req scanCIFSRequest) ([]cifs.Share, error) {
	return cifs.Scan(ctx, s.Run, req.Server, text(req.Username), text(req.Password), text(req.Domain))
}

type scanISCSIRequest struct {
	onNode
	Portal string `pve:"portal" format:"pve-storage-portal-dns" doc:"Address of the portal, with or without a port."`
}

func (s *Service) scanISCSI(ctx context.Context, req scanISCSIRequest) ([]iscsi.Found, error) {
	return iscsi.Scan(ctx, s.Run, req.Portal)
}

func (s *Service) scanLVM(ctx context.Context, _ onNode) ([]lvm.Found, error) {
	return lvm.Scan(ctx, s.Run)
}

type scanLVMThinRequest struct {
	onNode
	VG string `pve:"vg" maxlen:"100" pattern:"[a-zA-Z0-9\\.\\+\\_][a-zA-Z0-9\\.\\+\\_\\-]+" doc:"Volume group to look in."`
}

func (s *Service) scanLVMThin(ctx context.Context, req scanLVMThinRequest) ([]lvmthin.Found, error) {
	return lvmthin.Scan(ctx, s.Run, req.VG)
}

type scanNFSRequest struct {
	onNode
	Server string `pve:"server" format:"pve-storage-server" doc:"Name or address of the server."`
}

func (s *Service) scanNFS(ctx context.Context, req scanNFSRequest) ([]nfs.Export, error) {
	return nfs.Scan(ctx, s.Run, req.Server)
}

func (s *Service) scanZFS(ctx context.Context, _ onNode) ([]zfspool.Found, error) {
	return zfspool.Scan(ctx, s.Run)
}
