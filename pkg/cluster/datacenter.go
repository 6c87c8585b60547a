package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Datacenter is what datacenter.cfg sets for the whole cluster.
type Datacenter struct {
	BWLimit           *BWLimit   `pve:"bwlimit" doc:"Limits of bandwidth for the operations that copy data, in KiB/s." name:"bwlimit"`
	ConsentText       *string    `pve:"consent-text" doc:"Text that users consent to before they log in." maxlen:"65536"`
	Console           *string    `pve:"console" doc:"Viewer of consoles that is used first." enum:"applet|vv|html5|xtermjs"`
	CRS               *CRS       `pve:"crs" doc:"How the cluster places resources."`
	Description       *string    `pve:"description" doc:"Notes on the data center." maxlen:"65536"`
	EmailFrom         *string    `pve:"email_from" doc:"Address that mail is sent from." format:"email-opt"`
	Fencing           *string    `pve:"fencing" doc:"How a lost node is fenced." enum:"watchdog|hardware|both" default:"watchdog"`
	HA                *HA        `pve:"ha" doc:"Settings of high availability for the cluster."`
	HTTPProxy         *string    `pve:"http_proxy" doc:"Proxy for downloads." pattern:"http://.*"`
	Keyboard          *string    `pve:"keyboard" doc:"Keyboard layout of consoles." enum:"de|de-ch|da|en-gb|en-us|es|fi|fr|fr-be|fr-ca|fr-ch|hu|is|it|ja|lt|mk|nl|no|pl|pt|pt-br|sv|sl|tr"`
	Language          *string    `pve:"language" doc:"Language of the web interface." enum:"ar|ca|da|de|en|es|eu|fa|fr|hr|he|it|ja|ka|kr|nb|nl|nn|pl|pt_BR|ru|sl|sv|tr|ukr|zh_CN|zh_TW"`
	Location          *Location  `pve:"location" doc:"Where the data center is." name:"pve-node-location"`
	MACPrefix         *string    `pve:"mac_prefix" doc:"What new hardware addresses of guests begin with." format:"mac-prefix" default:"BC:24:11"`
	MaxWorkers        *int       `pve:"max_workers" doc:"How many guests are handled at once when all are." min:"1"`
	Migration         *Transfer  `pve:"migration" doc:"How guests migrate."`
	MigrationUnsecure *bool      `pve:"migration_unsecure" doc:"Migrate unencrypted; replaced by migration."`
	NextID            *NextID    `pve:"next-id" doc:"Range that new numbers of guests are taken from."`
	Notify            *Notify    `pve:"notify" doc:"Which events are notified of; replaced by notification matchers."`
	RegisteredTags    *string    `pve:"registered-tags" doc:"Tags that only administrators may set." pattern:"(?:(?i:[a-z0-9_][a-z0-9_\\-\\+\\.]*);)*(?i:[a-z0-9_][a-z0-9_\\-\\+\\.]*)" typetext:"<tag>[;<tag>...]"`
	Replication       *Transfer  `pve:"replication" doc:"How volumes are replicated."`
	TagStyle          *TagStyle  `pve:"tag-style" doc:"How tags look and are ordered."`
	U2F               *U2F       `pve:"u2f" doc:"Settings of U2F."`
	UserTagAccess     *TagAccess `pve:"user-tag-access" doc:"Which tags users may set."`
	WebAuthn          *WebAuthn  `pve:"webauthn" doc:"Settings of WebAuthn."`
}

// BWLimit limits how fast data is copied, in KiB/s, by what it is copied for.
type BWLimit struct {
	Clone     *float64 `pve:"clone" doc:"When cloning disks." min:"0" hint:"LIMIT"`
	Default   *float64 `pve:"default" doc:"Where nothing else is set." min:"0" hint:"LIMIT"`
	Migration *float64 `pve:"migration" doc:"When migrating guests." min:"0" hint:"LIMIT"`
	Move      *float64 `pve:"move" doc:"When moving disks." min:"0" hint:"LIMIT"`
	Restore   *float64 `pve:"restore" doc:"When restoring guests." min:"0" hint:"LIMIT"`
}

// CRS says how the cluster places resources.
type CRS struct {
	HA               *string  `pve:"ha" doc:"What high availability places by." enum:"basic|static|dynamic" default:"basic"`
	Rebalance        *bool    `pve:"ha-auto-rebalance" doc:"Move resources by itself to even out the load." default:"0"`
	RebalanceHold    *float64 `pve:"ha-auto-rebalance-hold-duration" doc:"Rounds that an imbalance must last." min:"0" default:"3" requires:"ha-auto-rebalance"`
	RebalanceMargin  *float64 `pve:"ha-auto-rebalance-margin" doc:"Least gain that a move is worth, in percent." min:"0" max:"100" default:"10" requires:"ha-auto-rebalance"`
	RebalanceMethod  *string  `pve:"ha-auto-rebalance-method" doc:"How a move is chosen." enum:"bruteforce|topsis" default:"bruteforce" requires:"ha-auto-rebalance"`
	RebalanceFrom    *float64 `pve:"ha-auto-rebalance-threshold" doc:"Imbalance that makes resources move, in percent." min:"0" max:"100" default:"30" requires:"ha-auto-rebalance"`
	RebalanceOnStart *bool    `pve:"ha-rebalance-on-start" doc:"Choose the node anew when a resource starts." default:"0"`
}

// HA are the settings of high availability.
type HA struct {
	ShutdownPolicy string `pve:"shutdown_policy" doc:"What becomes of resources when a node shuts down." enum:"freeze|failover|conditional|migrate" default:"conditional"`
}

// Location is where the data center is.
type Location struct {
	Latitude  float64 `pve:"latitude" doc:"Degrees north." min:"-90" max:"90"`
	Longitude float64 `pve:"longitude" doc:"Degrees east." min:"-180" max:"180"`
	Name      *string `pve:"name" doc:"Name of the place." maxlen:"128" typetext:"<name>"`
}

// Transfer says how data goes from node to node.
type Transfer struct {
	Type    string  `pve:"type,default_key" doc:"Encrypted or not." enum:"secure|insecure" default:"secure"`
	Network *string `pve:"network" doc:"Network that is used." format:"CIDR" hint:"CIDR"`
}

// NextID is the range that new numbers of guests are taken from.
type NextID struct {
	Lower *int `pve:"lower" doc:"First number." default:"100"`
	Upper *int `pve:"upper" doc:"Number after the last one." default:"1000000"`
}

// Notify says which events are notified of.
type Notify struct {
	Fencing              *string `pve:"fencing" doc:"When a node is fenced." enum:"always|never"`
	PackageUpdates       *string `pve:"package-updates" doc:"When there are updates." enum:"auto|always|never" default:"auto"`
	Replication          *string `pve:"replication" doc:"When replication fails." enum:"always|never"`
	TargetFencing        *string `pve:"target-fencing" doc:"Who hears of fencing." hint:"TARGET"`
	TargetPackageUpdates *string `pve:"target-package-updates" doc:"Who hears of updates." hint:"TARGET"`
	TargetReplication    *string `pve:"target-replication" doc:"Who hears of replication." hint:"TARGET"`
}

// TagStyle says how tags look and are ordered.
type TagStyle struct {
	CaseSensitive *bool   `pve:"case-sensitive" doc:"Tell capital letters from small ones." default:"0"`
	ColorMap      *string `pve:"color-map" doc:"Colours of tags." pattern:"(?:(?i:[a-z0-9_][a-z0-9_\\-\\+\\.]*):[0-9a-fA-F]{6}(?::[0-9a-fA-F]{6})?)(?:;(?:(?i:[a-z0-9_][a-z0-9_\\-\\+\\.]*):[0-9a-fA-F]{6}(?::[0-9a-fA-F]{6})?))*" typetext:"<tag>:<hex-color>[:<hex-color-for-text>][;<tag>=...]"`
	Ordering      *string `pve:"ordering" doc:"Order of tags." enum:"config|alphabetical" default:"alphabetical"`
	Shape         *string `pve:"shape" doc:"Shape of tags in the tree." enum:"full|circle|dense|none" default:"circle"`
}

// U2F are the settings of U2F.
type U2F struct {
	AppID  *string `pve:"appid" doc:"Identifier of the application." hint:"APPID"`
	Origin *string `pve:"origin" doc:"Origin, where there is only one." hint:"URL"`
}

// TagAccess says which tags users may set.
type TagAccess struct {
	Allow     *string `pve:"user-allow" doc:"Which tags users may set." enum:"none|list|existing|free" default:"free"`
	AllowList *string `pve:"user-allow-list" doc:"Tags that users may set." pattern:"(?i:[a-z0-9_][a-z0-9_\\-\\+\\.]*)(?:;(?i:[a-z0-9_][a-z0-9_\\-\\+\\.]*))*" typetext:"<tag>[;<tag>...]"`
}

// WebAuthn are the settings of WebAuthn.
type WebAuthn struct {
	AllowSubdomains *bool   `pve:"allow-subdomains" doc:"Whether subdomains of the origin are allowed." default:"1"`
	ID              *string `pve:"id" doc:"Domain that keys are for." hint:"DOMAINNAME"`
	Origin          *string `pve:"origin" doc:"Origin of the site." hint:"URL"`
	RP              *string `pve:"rp" doc:"Name of the site." hint:"RELYING_PARTY"`
}

// datacenterFile is where the settings are.
const datacenterFile = "datacenter.cfg"

// Datacenter reads the settings of the cluster. What is wrong in the file is left out
// and told to warn, which may be nil.
func (c *Client) Datacenter(ctx context.Context, warn func(string)) (*Datacenter, error) {
	text, err := c.ReadOptional(ctx, datacenterFile)
	if err != nil {
		return nil, err
	}
	return ParseDatacenter(text, warn), nil
}

// ParseDatacenter reads the text of datacenter.cfg.
func ParseDatacenter(text []byte, warn func(string)) *Datacenter {
	d := &Datacenter{}
	var description strings.Builder
	for line := range strings.Lines(string(text)) {
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			description.WriteString(config.DecodeText(strings.TrimRight(comment, "\r\n")) + "\n")
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if key, value = strings.TrimSpace(key), strings.TrimSpace(value); !ok || value == "" {
			continue
		}
		if err := schema.Set(d, key, value); err != nil && warn != nil {
			warn(datacenterFault(key, err))
		}
	}
	if description.Len() > 0 {
		d.Description = new(description.String())
	}
	return d
}

// datacenterFault words what is wrong with a setting.
func datacenterFault(key string, err error) string {
	fault := err.Error()
	if faults, ok := errors.AsType[schema.Faults](err); ok {
		fault = faults[slices.Sorted(maps.Keys(faults))[0]]
	} else if errors.Is(err, schema.ErrUnknown) {
		fault = "property is not defined in schema and the schema does not allow additional properties"
	}
	return fmt.Sprintf("parse error in '/etc/pve/%s' - '%s': %s", datacenterFile, key, strings.TrimSuffix(fault, "\n"))
}
