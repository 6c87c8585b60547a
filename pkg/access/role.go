package access

import "slices"

// Root is the user who may do everything.
const Root = "root@pam"

// The roles that mean more than their privileges.
const (
	Administrator = "Administrator" // has all privileges
	NoAccess      = "NoAccess"      // takes away what other roles give
)

// A privilegeGroup has the privileges on one kind of thing, by who is meant to have
// them.
type privilegeGroup struct {
	name  string
	root  []string // in no role but Administrator
	admin []string
	user  []string
	audit []string
}

func privilegeGroups() []privilegeGroup {
	return []privilegeGroup{
		{
			name:  "Datastore",
			admin: []string{"Datastore.Allocate", "Datastore.AllocateTemplate"},
			user:  []string{"Datastore.AllocateSpace"},
			audit: []string{"Datastore.Audit"},
		},
		{
			name:  "Mapping",
			admin: []string{"Mapping.Modify"},
			user:  []string{"Mapping.Use"},
			audit: []string{"Mapping.Audit"},
		},
		{name: "Pool", admin: []string{"Pool.Allocate"}, user: []string{"Pool.Audit"}, audit: []string{"Pool.Audit"}},
		{name: "SDN", admin: []string{"SDN.Allocate", "SDN.Audit"}, user: []string{"SDN.Use"}, audit: []string{"SDN.Audit"}},
		{
			name:  "Sys",
			root:  []string{"Permissions.Modify", "Sys.AccessNetwork", "Sys.Incoming", "Sys.Modify", "Sys.PowerMgmt"},
			admin: []string{"Sys.Console", "Sys.Syslog"},
			audit: []string{"Sys.Audit"},
		},
		{
			name:  "User",
			root:  []string{"Realm.Allocate"},
			admin: []string{"Group.Allocate", "Realm.AllocateUser", "User.Modify"},
		},
		{
			name: "VM",
			admin: []string{
				"VM.Allocate", "VM.Clone", "VM.Config.CPU", "VM.Config.Disk", "VM.Config.HWType", "VM.Config.Memory",
				"VM.Config.Network", "VM.Config.Options", "VM.GuestAgent.Unrestricted", "VM.Migrate", "VM.Replicate",
				"VM.Snapshot", "VM.Snapshot.Rollback",
			},
			user: []string{
				"VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.GuestAgent.FileRead",
				"VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.FileWrite", "VM.PowerMgmt",
			},
			audit: []string{"VM.Audit", "VM.GuestAgent.Audit"},
		},
	}
}

// Privileges lists all privileges that there are, sorted.
func Privileges() []string { return builtinRoles()[Administrator] }

// builtinRoles are the roles that are always there, each with its privileges, sorted.
// For each kind of thing there is one that administers it, and mostly one that uses it.
func builtinRoles() map[string][]string {
	roles := map[string][]string{NoAccess: nil, "PVETemplateUser": {"VM.Audit", "VM.Clone"}}
	for _, g := range privilegeGroups() {
		admin := slices.Concat(g.admin, g.user, g.audit)
		roles[Administrator] = slices.Concat(roles[Administrator], g.root, admin)
		roles["PVE"+g.name+"Admin"] = admin
		roles["PVEAuditor"] = append(roles["PVEAuditor"], g.audit...)
		if len(g.user) > 0 {
			roles["PVE"+g.name+"User"] = slices.Concat(g.user, g.audit)
		}
		if g.name == "Mapping" {
			admin = slices.Concat(g.user, g.audit) // which hardware guests may have stays with root
		}
		roles["PVEAdmin"] = append(roles["PVEAdmin"], admin...)
	}
	for name, privileges := range roles {
		slices.Sort(privileges)
		roles[name] = slices.Compact(privileges)
	}
	return roles
}
