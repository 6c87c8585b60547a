package ovf

import "strings"

// osType returns the ostype for what a manifest says of the guest: VMware's word for it, else
// the number that CIM gives it.
func osType(o guestOS) string {
	if t := osOfVMware(o.Type); t != "" {
		return t
	}
	switch strings.TrimSpace(o.ID) {
	case "29", "30", "81":
		return "solaris"
	case "58":
		return "w2k"
	case "67", "71":
		return "wxp"
	case "69", "70":
		return "w2k3"
	case "73", "74":
		return "wvista"
	case "76", "77":
		return "w2k8"
	case "103", "105":
		return "win7"
	case "112", "113", "114", "115", "117", "118":
		return "win8"
	case "116", "119", "120", "121", "122", "123":
		return "win10"
	case "97", "98":
		return "l24"
	case "36", "79", "80", "82", "83", "84", "85", "86", "87", "88", "89", "90", "91", "92", "93", "94", "95", "96",
		"99", "100", "101", "106", "107", "108", "109":
		return "l26"
	}
	return "other"
}

// osOfVMware maps the beginnings of VMware's names of guests, the longer ones first.
func osOfVMware(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	for _, known := range []struct{ prefix, ostype string }{
		{"winxp", "wxp"}, {"win2000", "w2k"}, {"winnet", "w2k3"}, {"winlonghorn", "w2k8"}, {"longhorn", "w2k8"}, {"winvista", "wvista"},
		{"windows7", "win7"}, {"windows8", "win8"}, {"windows9", "win10"}, {"windows2019srvnext", "win11"}, {"windows2019", "win10"},
		{"windows2022", "win11"}, {"windows11", "win11"}, {"windows12", "win11"}, {"solaris", "solaris"}, {"other24x", "l24"},
		{"other26x", "l26"}, {"other3x", "l26"}, {"other4x", "l26"}, {"other5x", "l26"}, {"other6x", "l26"}, {"otherlinux", "l26"},
		{"debian", "l26"}, {"ubuntu", "l26"}, {"centos", "l26"}, {"rhel", "l26"}, {"redhat", "l26"}, {"sles", "l26"}, {"suse", "l26"},
		{"opensuse", "l26"}, {"fedora", "l26"}, {"oraclelinux", "l26"}, {"rocky", "l26"}, {"almalinux", "l26"}, {"amazonlinux", "l26"},
		{"coreos", "l26"}, {"vmwarephoton", "l26"}, {"asianux", "l26"}, {"mandr", "l26"}, {"turbolinux", "l26"}, {"genericlinux", "l26"},
	} {
		if strings.HasPrefix(name, known.prefix) {
			return known.ostype
		}
	}
	return ""
}
