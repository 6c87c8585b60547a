package ovmf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
)

// A Variable is what the firmware keeps under a name.
type Variable struct {
	Name       string
	Vendor     GUID
	Attributes uint32 // EFI_VARIABLE_NON_VOLATILE and the like
	Count      uint64 // of authenticated writes of the old kind
	Time       [16]byte
	Key        uint32 // index of a public key, of the old kind
	Data       []byte

	at int // where its header is
}

// Figures of AUTHENTICATED_VARIABLE_HEADER. Headers are at multiples of four bytes
// (HEADER_ALIGNMENT); names and data follow without a gap, as ALIGNMENT is 1.
const (
	varHeader     = 60
	varState      = 2
	varAttributes = 4
	varCount      = 8
	varTime       = 16
	varKey        = 32
	varNameSize   = 36
	varDataSize   = 40
	varVendor     = 44
	varStart      = 0x55aa // VARIABLE_DATA
	varAlign      = 4
)

// States. A flash can only clear bits until it is erased, so each step of a
// variable's life clears one more.
const (
	stateNone    = 0xff
	stateAdded   = 0x3f // VAR_ADDED
	stateLeaving = 0xfe // VAR_IN_DELETED_TRANSITION
	stateDeleted = 0xfd // VAR_DELETED
)

// The longest variable with an authenticated write that OVMF takes, header and all
// (PcdMaxAuthVariableSize in OvmfPkgX64.dsc), in the builds of 4 MiB and 2 MiB.
const (
	maxVariable      = 0x8400
	maxVariableSmall = 0x2800
	smallStore       = 0x20000
)

// Variables lists what the firmware would find, in the order of the store.
func (m *Image) Variables() []Variable {
	all := slices.Clone(m.vars)
	for i := range all {
		all[i].Data = slices.Clone(all[i].Data)
	}
	return all
}

// Get returns a variable.
func (m *Image) Get(vendor GUID, name string) (Variable, bool) {
	for _, v := range m.vars {
		if v.Vendor == vendor && v.Name == name {
			v.Data = slices.Clone(v.Data)
			return v, true
		}
	}
	return Variable{}, false
}

// Set puts a variable into the store, in place of the one of its name.
func (m *Image) Set(v Variable) error {
	entry, err := v.encode()
	if err != nil {
		return err
	}
	limit := maxVariable
	if m.end-m.start < smallStore {
		limit = maxVariableSmall
	}
	if len(entry) > limit {
		return fmt.Errorf("%s: %w: %d bytes, the firmware takes %d", v.Name, ErrNoSpace, len(entry), limit)
	}
	if at := aligned(m.used); at+len(entry) <= m.end {
		copy(m.data[at:], entry)
		m.mark(v.Vendor, v.Name, at)
		return m.scan()
	}
	return m.rewrite(v, entry)
}

// mark takes away the variables of a name but the one at keep.
func (m *Image) mark(vendor GUID, name string, keep int) {
	for v, state := range m.entries() {
		if v.at != keep && v.Vendor == vendor && v.Name == name && state&stateAdded == state {
			m.data[v.at+varState] &= stateDeleted
		}
	}
}

// rewrite makes the store anew, without what was deleted, with v at its end.
func (m *Image) rewrite(v Variable, entry []byte) error {
	fresh := make([]byte, 0, m.end-m.start)
	for _, w := range m.vars {
		if w.Vendor == v.Vendor && w.Name == v.Name {
			continue
		}
		old, err := w.encode()
		if err != nil {
			return err
		}
		fresh = append(padded(fresh, m.start), old...)
	}
	fresh = append(padded(fresh, m.start), entry...)
	if len(fresh) > m.end-m.start {
		return fmt.Errorf("%s: %w", v.Name, ErrNoSpace)
	}
	store := m.data[m.start:m.end]
	n := copy(store, fresh)
	for i := range store[n:] {
		store[n+i] = 0xff
	}
	m.anew = true
	return m.scan()
}

// padded fills b, whose first byte is at offset start of the image, up to where a
// header can be.
func padded(b []byte, start int) []byte {
	for (start+len(b))%varAlign != 0 {
		b = append(b, 0xff)
	}
	return b
}

func aligned(at int) int { return (at + varAlign - 1) / varAlign * varAlign }

// scan finds the variables of the store. One that was being replaced when the
// firmware was stopped is valid as long as its successor is not there.
func (m *Image) scan() error {
	m.vars, m.used = nil, m.start
	type key struct {
		vendor GUID
		name   string
	}
	found := map[key]int{} // where in vars
	var leaving []Variable
	for at := aligned(m.start); ; {
		v, end, err := m.entry(at)
		if err != nil {
			return err
		}
		if end == 0 {
			break
		}
		m.used = end
		switch state := m.data[at+varState]; {
		case state == stateAdded:
			k := key{v.Vendor, v.Name}
			if _, double := found[k]; !double {
				found[k] = len(m.vars)
				m.vars = append(m.vars, v)
			}
		case state == stateAdded&stateLeaving:
			leaving = append(leaving, v)
		}
		at = aligned(end)
	}
	for _, v := range leaving {
		k := key{v.Vendor, v.Name}
		if _, there := found[k]; !there {
			found[k] = len(m.vars)
			m.vars = append(m.vars, v)
		}
	}
	for _, b := range m.data[m.used:m.end] {
		if b != 0xff {
			return fmt.Errorf("%w: bytes behind the last variable", ErrFormat)
		}
	}
	return nil
}

// entries walks all variables that were ever complete, with their states.
func (m *Image) entries() func(func(Variable, byte) bool) {
	return func(yield func(Variable, byte) bool) {
		for at := aligned(m.start); ; {
			v, end, err := m.entry(at)
			if err != nil || end == 0 || !yield(v, m.data[at+varState]) {
				return
			}
			at = aligned(end)
		}
	}
}

// entry reads the variable whose header is at an offset, and tells where it ends: 0
// where there is none.
func (m *Image) entry(at int) (v Variable, end int, err error) {
	if at+varHeader > m.end || binary.LittleEndian.Uint16(m.data[at:]) != varStart {
		return v, 0, nil
	}
	h := m.data[at : at+varHeader]
	name, size := binary.LittleEndian.Uint32(h[varNameSize:]), binary.LittleEndian.Uint32(h[varDataSize:])
	const unset = 0xffffffff
	if h[varState] == stateNone || name == unset || size == unset || binary.LittleEndian.Uint32(h[varAttributes:]) == unset {
		// stopped while the header was written: it takes no more room than that
		return Variable{at: at}, at + varHeader, nil
	}
	if rest := uint64(m.end - at - varHeader); uint64(name)+uint64(size) > rest {
		return v, 0, fmt.Errorf("%w: variable at %#x of %d and %d bytes", ErrFormat, at, name, size)
	}
	v = Variable{
		Vendor:     GUID(h[varVendor:]),
		Attributes: binary.LittleEndian.Uint32(h[varAttributes:]),
		Count:      binary.LittleEndian.Uint64(h[varCount:]),
		Time:       [16]byte(h[varTime:]),
		Key:        binary.LittleEndian.Uint32(h[varKey:]),
		at:         at,
	}
	text := m.data[at+varHeader:][:name]
	v.Data = m.data[at+varHeader+int(name):][:size]
	end = at + varHeader + int(name) + int(size)
	if h[varState] != stateAdded && h[varState] != stateAdded&stateLeaving {
		return v, end, nil // what is in it does not matter
	}
	v.Name, err = decodeName(text)
	if err != nil {
		return v, 0, fmt.Errorf("%w: variable at %#x: %w", ErrFormat, at, err)
	}
	return v, end, nil
}

// encode writes a variable as the store has it.
func (v Variable) encode() ([]byte, error) {
	name := utf16.Encode([]rune(v.Name))
	if v.Name == "" || slices.Contains(name, 0) {
		return nil, fmt.Errorf("name of a variable: %q", v.Name)
	}
	name = append(name, 0)
	if len(v.Data) > MaxSize {
		return nil, fmt.Errorf("%s: %w", v.Name, ErrNoSpace)
	}
	b := make([]byte, varHeader, varHeader+2*len(name)+len(v.Data))
	binary.LittleEndian.PutUint16(b, varStart)
	b[varState] = stateAdded
	binary.LittleEndian.PutUint32(b[varAttributes:], v.Attributes)
	binary.LittleEndian.PutUint64(b[varCount:], v.Count)
	copy(b[varTime:], v.Time[:])
	binary.LittleEndian.PutUint32(b[varKey:], v.Key)
	binary.LittleEndian.PutUint32(b[varNameSize:], uint32(2*len(name)))
	binary.LittleEndian.PutUint32(b[varDataSize:], uint32(len(v.Data)))
	copy(b[varVendor:], v.Vendor[:])
	for _, unit := range name {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return append(b, v.Data...), nil
}

// errName is the error of a name that is no text with a zero at its end.
var errName = errors.New("name is not UTF-16 text with a zero at its end")

func decodeName(b []byte) (string, error) {
	if len(b) < 4 || len(b)%2 != 0 {
		return "", errName
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	last := len(units) - 1
	if units[last] != 0 || slices.Contains(units[:last], 0) {
		return "", errName
	}
	text := string(utf16.Decode(units[:last]))
	if !slices.Equal(utf16.Encode([]rune(text)), units[:last]) {
		return "", errName // half of a surrogate pair
	}
	return text, nil
}
