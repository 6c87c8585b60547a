package cifs

import "encoding/binary"

// negotiate is a question every server of SMB 2 and 3 answers: which versions it speaks.
func negotiate() []byte {
	dialects := []uint16{0x0202, 0x0210, 0x0300, 0x0302}
	b := make([]byte, 4, 128) // the length comes last
	// The header.
	b = append(b, 0xfe, 'S', 'M', 'B')
	b = binary.LittleEndian.AppendUint16(b, 64)
	b = append(b, make([]byte, 6)...)            // credit charge, status
	b = binary.LittleEndian.AppendUint16(b, 0)   // NEGOTIATE
	b = binary.LittleEndian.AppendUint16(b, 1)   // credits
	b = append(b, make([]byte, 4+4+8+8+8+16)...) // flags, next, message, process and tree, session, signature
	// The request.
	b = binary.LittleEndian.AppendUint16(b, 36)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(dialects)))
	b = binary.LittleEndian.AppendUint16(b, 1) // signing is possible
	b = append(b, make([]byte, 2+4)...)        // reserved, capabilities
	b = append(b, "virtsmith-probe-"...)       // 16 bytes that tell clients apart
	b = append(b, make([]byte, 8)...)          // start time
	for _, d := range dialects {
		b = binary.LittleEndian.AppendUint16(b, d)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
