package ovf

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// envelope is as much of a manifest as matters here. Names are matched in any namespace,
// since the producers do not agree on them.
type envelope struct {
	XMLName xml.Name
	Files   []file   `xml:"References>File"`
	Disks   []disk   `xml:"DiskSection>Disk"`
	Configs []choice `xml:"DeploymentOptionSection>Configuration"`
	Systems []system `xml:"VirtualSystem"`
	Grouped []system `xml:"VirtualSystemCollection>VirtualSystem"`
}

type file struct {
	ID          string `xml:"id,attr"`
	Href        string `xml:"href,attr"`
	Compression string `xml:"compression,attr"`
	ChunkSize   string `xml:"chunkSize,attr"`
}

type disk struct {
	ID       string `xml:"diskId,attr"`
	File     string `xml:"fileRef,attr"`
	Parent   string `xml:"parentRef,attr"`
	Capacity string `xml:"capacity,attr"`
	Units    string `xml:"capacityAllocationUnits,attr"`
}

type choice struct {
	ID      string `xml:"id,attr"`
	Default bool   `xml:"default,attr"`
}

type system struct {
	ID       string    `xml:"id,attr"`
	Name     string    `xml:"Name"`
	OS       guestOS   `xml:"OperatingSystemSection"`
	Hardware []section `xml:"VirtualHardwareSection"`
}

type guestOS struct {
	ID   string `xml:"id,attr"`
	Type string `xml:"osType,attr"`
}

type section struct {
	Items    []item    `xml:"Item"`
	Storage  []item    `xml:"StorageItem"`
	Ethernet []item    `xml:"EthernetPortItem"`
	Settings []setting `xml:"Config"`
}

type setting struct {
	Key   string `xml:"key,attr"`
	Value string `xml:"value,attr"`
}

type item struct {
	Configurations  string   `xml:"configuration,attr"`
	Address         string   `xml:"Address"`
	AddressOnParent string   `xml:"AddressOnParent"`
	Units           string   `xml:"AllocationUnits"`
	Connections     []string `xml:"Connection"`
	Resources       []string `xml:"HostResource"`
	ID              string   `xml:"InstanceID"`
	OldID           string   `xml:"InstanceId"`
	Parent          string   `xml:"Parent"`
	SubType         string   `xml:"ResourceSubType"`
	Type            string   `xml:"ResourceType"`
	Quantity        string   `xml:"VirtualQuantity"`
}

func (i item) id() string { return strings.TrimSpace(i.ID + i.OldID) }

// readEnvelope parses the XML. A document type, and so any entity of its own, is refused.
func readEnvelope(r io.Reader) (*envelope, error) {
	limited := &io.LimitedReader{R: r, N: maxManifest + 1}
	d := xml.NewTokenDecoder(&guarded{d: xml.NewDecoder(limited)})
	e := new(envelope)
	err := d.Decode(e)
	switch {
	case limited.N == 0:
		return nil, fmt.Errorf("manifest is larger than %d MiB", maxManifest>>20)
	case errors.Is(err, io.EOF):
		return nil, errors.New("manifest is empty")
	case err != nil:
		return nil, fmt.Errorf("manifest: %w", err)
	case e.XMLName.Local != "Envelope":
		return nil, fmt.Errorf("manifest begins with <%s>, not with <Envelope>", e.XMLName.Local)
	}
	return e, nil
}

// maxDepth is deeper than any manifest goes.
const maxDepth = 64

// guarded is a stream of XML tokens without what a manifest has no use for.
type guarded struct {
	d     *xml.Decoder
	depth int
}

func (g *guarded) Token() (xml.Token, error) {
	token, err := g.d.RawToken()
	switch token.(type) {
	case xml.Directive:
		return nil, errors.New("a document type is not allowed")
	case xml.StartElement:
		if g.depth++; g.depth > maxDepth {
			return nil, fmt.Errorf("elements are nested more than %d deep", maxDepth)
		}
	case xml.EndElement:
		g.depth--
	}
	return xml.CopyToken(token), err
}

// system returns the one machine of the manifest.
func (e *envelope) system() (*system, error) {
	all := slices.Concat(e.Systems, e.Grouped)
	switch len(all) {
	case 1:
		return &all[0], nil
	case 0:
		return nil, errors.New("manifest describes no virtual machine")
	}
	return nil, fmt.Errorf("manifest describes %d virtual machines, only one can be imported", len(all))
}

// wanted returns the items of the default configuration, where there are several to choose from.
func (e *envelope) wanted(s *system) []item {
	config := ""
	for i, c := range e.Configs {
		if i == 0 || c.Default {
			config = c.ID
		}
		if c.Default {
			break
		}
	}
	var all []item
	for _, h := range s.Hardware {
		for _, i := range slices.Concat(h.Items, h.Storage, h.Ethernet) {
			if i.Configurations == "" || slices.Contains(strings.Fields(i.Configurations), config) {
				all = append(all, i)
			}
		}
	}
	return all
}
