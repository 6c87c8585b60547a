package qemu

// VirtioFS is the value of virtiofsN.
type VirtioFS struct {
	DirID       string  `pve:"dirid,default_key" doc:"" format:"pve-configid" hint:"mapping-id"`
	Cache       *string `pve:"cache" doc:"" enum:"auto|always|metadata|never" default:"auto"`
	DirectIO    *bool   `pve:"direct-io" doc:"" default:"0"`
	ExposeACL   *bool   `pve:"expose-acl" doc:"" default:"0"`
	ExposeXAttr *bool   `pve:"expose-xattr" doc:"" default:"0"`
}
