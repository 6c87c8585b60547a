package qemu

import (
	"errors"
	"reflect"
	"slices"
	"strings"

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
