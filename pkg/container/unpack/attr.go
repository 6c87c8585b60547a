package unpack

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container/idmap"
)

// Revisions of the attribute that holds a program's capabilities. The second one is good
// for everybody, the third one for a user namespace whose root is the user it names.
const (
	capRevisionMask = 0xff000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
	capSize2        = 20
	capSize3        = 24
)

// capability makes the capabilities of a program those of the container: with them, root
// of no other namespace gains anything.
func (w *writer) capability(data []byte) ([]byte, error) {
	if len(data) < 4 {
		return nil, errors.New("its capabilities cannot be read")
	}
	magic := binary.LittleEndian.Uint32(data)
	root := uint32(0)
	switch {
	case magic&capRevisionMask == capRevision2 && len(data) == capSize2:
	case magic&capRevisionMask == capRevision3 && len(data) == capSize3:
		root = binary.LittleEndian.Uint32(data[capSize2:])
	default:
		return nil, errors.New("its capabilities cannot be read")
	}
	if w.ids.Privileged() {
		return data, nil
	}
	host, err := w.hostID(idmap.User, int(root))
	if err != nil {
		return nil, fmt.Errorf("its capabilities: %w", err)
	}
	out := make([]byte, capSize3)
	copy(out, data[:capSize2])
	binary.LittleEndian.PutUint32(out, magic&^uint32(capRevisionMask)|capRevision3)
	binary.LittleEndian.PutUint32(out[capSize2:], host)
	return out, nil
}

// Tags of the entries of an ACL.
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclVersion = 2
	aclNobody  = 0xffffffff
)

// An aclEntry is an entry as the kernel takes it.
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// acl translates the text of an ACL, as archives hold it, to the attribute.
func (w *writer) acl(text string) ([]byte, error) {
	var entries []aclEntry
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		line, _, _ = strings.Cut(line, "#") // what is effective
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		e, err := w.aclEntry(line)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b aclEntry) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	data := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		data = binary.LittleEndian.AppendUint16(data, e.tag)
		data = binary.LittleEndian.AppendUint16(data, e.perm)
		data = binary.LittleEndian.AppendUint32(data, e.id)
	}
	return data, nil
}

// aclEntry reads one entry: what:who:rwx, and with some tar programs :number after it.
func (w *writer) aclEntry(line string) (aclEntry, error) {
	bad := fmt.Errorf("its ACL has an entry that cannot be read: '%s'", line)
	fields := strings.Split(line, ":")
	if len(fields) != 3 && len(fields) != 4 {
		return aclEntry{}, bad
	}
	who := fields[1]
	if len(fields) == 4 {
		who = fields[3]
	}
	perm, ok := aclPerm(fields[2])
	if !ok {
		return aclEntry{}, bad
	}
	tags := map[string][2]uint16{
		"user": {aclUserObj, aclUser}, "u": {aclUserObj, aclUser}, "group": {aclGroupObj, aclGroup}, "g": {aclGroupObj, aclGroup},
		"mask": {aclMask}, "m": {aclMask}, "other": {aclOther}, "o": {aclOther},
	}
	tag, ok := tags[fields[0]]
	if !ok || who != "" && tag[1] == 0 {
		return aclEntry{}, bad
	}
	if who == "" {
		return aclEntry{tag[0], perm, aclNobody}, nil
	}
	n, err := strconv.ParseUint(who, 10, 32)
	if err != nil {
		return aclEntry{}, fmt.Errorf("its ACL names '%s': only numbers mean something here", who)
	}
	kind := idmap.User
	if tag[1] == aclGroup {
		kind = idmap.Group
	}
	id, err := w.hostID(kind, int(n))
	if err != nil {
		return aclEntry{}, fmt.Errorf("its ACL: %w", err)
	}
	return aclEntry{tag[1], perm, id}, nil
}

func aclPerm(text string) (uint16, bool) {
	var perm uint16
	for _, c := range text {
		switch c {
		case 'r':
			perm |= 4
		case 'w':
			perm |= 2
		case 'x':
			perm |= 1
		case '-':
		default:
			return 0, false
		}
	}
	return perm, text != ""
}
