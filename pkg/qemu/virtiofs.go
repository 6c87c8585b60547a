package qemu

// VirtioFS is a directory of the host that the guest mounts (virtiofsN).
type VirtioFS struct {
	DirID       string  `pve:"dirid,default_key" doc:"Directory mapping to share, which is also the tag in the guest." format:"pve-configid" hint:"mapping-id"`
	Cache       *string `pve:"cache" doc:"How far the guest may cache files and metadata." enum:"auto|always|metadata|never" default:"auto"`
	DirectIO    *bool   `pve:"direct-io" doc:"Honour direct I/O asked for by programs in the guest." default:"0"`
	ExposeACL   *bool   `pve:"expose-acl" doc:"Let the guest use POSIX ACLs, which also exposes attributes." default:"0"`
	ExposeXAttr *bool   `pve:"expose-xattr" doc:"Let the guest use extended attributes." default:"0"`
}
