package qemu

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// CustomCPUModel is a CPU model that the cluster defines. VMs name it with custom-
// in front.
type CustomCPUModel struct {
	Name          string        `pve:"cputype" doc:"Name of the model, without custom- in front." format:"pve-configid" maxlen:"40"`
	ReportedModel ReportedModel `pve:"reported-model" doc:"Model of QEMU that the guest is told."`
	Flags         *string       `pve:"flags" doc:"CPU flags to add with + or remove with -, separated by semicolons." pattern:"(?:(?:([+-])([a-zA-Z0-9\\-_\\.]+))(;(?:([+-])([a-zA-Z0-9\\-_\\.]+)))*)" hint:"+FLAG[;-FLAG...]"`
	GuestPhysBits *int          `pve:"guest-phys-bits" doc:"Physical address width that the guest is told, in bits." min:"32" max:"64"`
	Hidden        *bool         `pve:"hidden" doc:"Do not tell the guest that it runs under KVM." default:"0"`
	HVVendorID    *string       `pve:"hv-vendor-id" doc:"Vendor id of Hyper-V features, up to 12 letters and digits." pattern:"(?:[a-zA-Z0-9]{1,12})" hint:"vendor-id"`
	Level         *int          `pve:"level" doc:"Highest basic CPUID leaf the guest may ask for." min:"0" max:"4294967295"`
	PhysBits      *string       `pve:"phys-bits" doc:"Physical address width in bits, or host for that of the node." format:"pve-phys-bits" hint:"8-64|host"`
}

// ReportedModel is a model of QEMU.
type ReportedModel string

// Describe gives the schema of a model of QEMU.
func (ReportedModel) Describe(s *schema.Schema) {
	f, _ := schema.TypeOf(reflect.TypeFor[CPU]()).Lookup("reported-model")
	s.Type, s.Enum, s.Default = "string", slices.Clone(f.Schema.Enum), f.Schema.Default
}

// Check refuses a name that VMs could not use.
func (m CustomCPUModel) Check() error {
	if strings.HasPrefix(m.Name, "custom-") {
		return errors.New("custom CPU model name may not begin with 'custom-'")
	}
	return nil
}

// CPU returns m as the settings of a VM's CPU.
func (m CustomCPUModel) CPU() CPU {
	return CPU{
		Flags: m.Flags, GuestPhysBits: m.GuestPhysBits, Hidden: m.Hidden, HVVendorID: m.HVVendorID, Level: m.Level, PhysBits: m.PhysBits,
		ReportedModel: new(string(m.ReportedModel)),
	}
}

// ParseCustomCPUModels reads the file of the cluster's CPU models, which messages call
// by the given name, and returns what they set, by the name that VMs give without
// custom-. What is wrong is left out and told to warn, which may be nil.
func ParseCustomCPUModels(name string, text []byte, warn func(string)) map[string]CPU {
	const key = "cputype" // the name of the section
	kind := config.SectionType{Name: "cpu-model", Properties: map[string]*schema.Schema{}, Options: map[string]config.Option{}}
	for _, f := range schema.TypeOf(reflect.TypeFor[CustomCPUModel]()).Fields {
		if f.Name != key {
			kind.Properties[f.Name], kind.Options[f.Name] = f.Schema, config.Option{Optional: true}
		}
	}
	file := config.Sections{Types: []config.SectionType{kind}}
	models := map[string]CPU{}
	for _, s := range file.Parse(name, text, warn).Sections {
		m := CustomCPUModel{Name: s.ID}
		for key, value := range s.Values {
			_ = schema.Set(&m, key, value) // Parse has checked it
		}
		if m.ReportedModel == "" {
			m.ReportedModel = "kvm64"
		}
		models[s.ID] = m.CPU()
	}
	return models
}
