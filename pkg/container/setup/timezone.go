package setup

import "path"

// Timezone makes localtime a link to the zone of the configuration, if it names one.
func (t *Target) Timezone() error {
	if t.Config.Timezone == nil || *t.Config.Timezone == "" {
		return nil
	}
	zone := *t.Config.Timezone
	if zone == "host" {
		if zone = t.Env.Timezone; zone == "" {
			zone = "UTC"
		}
	}
	file := path.Join("/usr/share/zoneinfo", path.Join("/", zone))
	if !t.Exists(file) {
		t.Env.Warnf("container does not have %s, timezone can not be modified", file)
		return nil
	}
	const localtime = "/etc/localtime"
	to, err := t.Root.Readlink(localtime)
	if (err != nil || path.Join("/etc", to) != file && path.Clean(to) != file) && !t.Ignored(localtime) {
		if err := t.Root.ReplaceLink(file, localtime); err != nil {
			return err
		}
	}
	if !t.Exists("/etc/timezone") {
		return nil
	}
	return t.Write("/etc/timezone", zone+"\n")
}
