package lxcconf

import (
	"fmt"
	"strings"
)

// denied are the system calls that no container needs and that reach the host's kernel: other
// kernels, modules, and files by numbers that no mount namespace hides.
func denied() []string {
	return []string{"kexec_load", "kexec_file_load", "open_by_handle_at", "init_module", "finit_module", "delete_module"}
}

// seccomp makes the filter of system calls.
func (b *maker) seccomp() {
	if b.rawHas("lxc.seccomp.profile") {
		return
	}
	if !b.Kernel.Seccomp {
		b.Notes = append(b.Notes, "this kernel cannot filter system calls: the container starts without a seccomp profile")
		return
	}
	out := &strings.Builder{}
	out.WriteString("2\ndenylist\n")
	if !is(b.features.Nesting) {
		out.WriteString("reject_force_umount\n")
	}
	out.WriteString("[all]\n")
	for _, name := range denied() {
		fmt.Fprintf(out, "%s errno 1\n", name)
	}
	if !is(b.features.Nesting) {
		// The calls of btrfs about its subvolumes: they know no user namespaces.
		out.WriteString("ioctl errno 1 [1,0x9400,SCMP_CMP_MASKED_EQ,0xff00]\n")
	}
	if b.unprivileged() && !is(b.features.KeyCtl) {
		// Key rings do not tell the users of one container from those of the next. Programs
		// take "not implemented" for a kernel without, and do not fail of it.
		out.WriteString("keyctl errno 38\n")
	}
	b.mknod(out)
	b.Seccomp = out.String()
	b.add("lxc.seccomp.profile", SeccompFile(b.Dir))
}

// mknod hands the making of device nodes to the daemon that does it for containers.
func (b *maker) mknod(out *strings.Builder) {
	if !is(b.features.MkNod) || !b.unprivileged() {
		return
	}
	if b.SyscallProxy == "" {
		b.Warnings = append(b.Warnings, "features:mknod needs the daemon lxc-syscalld, which does not run: the container cannot make device nodes")
		return
	}
	for _, kind := range []string{"0x2000", "0x6000"} { // character and block devices
		fmt.Fprintf(out, "mknod notify [1,%s,SCMP_CMP_MASKED_EQ,0xf000]\n", kind)
		fmt.Fprintf(out, "mknodat notify [2,%s,SCMP_CMP_MASKED_EQ,0xf000]\n", kind)
	}
	b.add("lxc.seccomp.notify.proxy", "unix:"+b.SyscallProxy)
}

// apparmor says what the profile that LXC makes is to allow beyond the usual.
func (b *maker) apparmor() {
	own := b.rawHas("lxc.apparmor.profile")
	var used []string
	if is(b.features.FUSE) {
		used = append(used, "features:fuse")
	}
	if is(b.features.Nesting) {
		used = append(used, "features:nesting")
	}
	if b.features.Mount != nil && *b.features.Mount != "" {
		used = append(used, "features:mount")
	}
	switch {
	case own && len(used) > 0:
		b.Warnings = append(b.Warnings, "explicitly configured lxc.apparmor.profile overrides the following settings: "+strings.Join(used, ", "))
		return
	case own:
		return
	case !b.Kernel.AppArmor:
		b.Notes = append(b.Notes, "this kernel has no AppArmor: the container starts without a profile")
		return
	}
	b.add("lxc.apparmor.profile", "generated")
	if is(b.features.Nesting) {
		b.add("lxc.apparmor.allow_nesting", "1")
	} else {
		b.add("lxc.apparmor.raw", "deny mount -> /proc/,")
		b.add("lxc.apparmor.raw", "deny mount -> /sys/,")
	}
	if is(b.features.FUSE) {
		b.add("lxc.apparmor.raw", "mount fstype=fuse,")
	}
	if b.features.Mount != nil {
		for fstype := range strings.FieldsFuncSeq(*b.features.Mount, func(r rune) bool { return r == ';' || r == ' ' }) {
			b.addf("lxc.apparmor.raw", "mount fstype=%s,", fstype)
		}
	}
}

// capabilities takes those from the root of a privileged container that act on the host as
// a whole. In a user namespace they do not reach it.
func (b *maker) capabilities() {
	if !b.unprivileged() && !b.rawHas("lxc.cap.keep") {
		b.add("lxc.cap.drop", "mac_admin mac_override sys_time sys_module sys_rawio")
	}
}
