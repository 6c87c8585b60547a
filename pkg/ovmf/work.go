package ovmf

import (
	"encoding/binary"
	"fmt"
)

// Figures of the work space of fault tolerant writes: EFI_FAULT_TOLERANT_WORKING_BLOCK_HEADER
// (SystemNvDataGuid.h), and the write headers and records behind it
// (EFI_FAULT_TOLERANT_WRITE_HEADER and _RECORD in EDK2's
// MdeModulePkg/Universal/FaultTolerantWriteDxe). In the byte of flags a bit that is
// clear is one that is set, as a flash can only clear.
const (
	workHeader    = 32
	workQueueSize = 24
	workWrite     = 40
	workRecord    = 40
	workBlock     = 0x1000 // in which steps the work space can begin

	workAllocated      = 1 << 0 // HeaderAllocated
	workWritesGiven    = 1 << 1 // WritesAllocated
	workComplete       = 1 << 2 // Complete
	workWriteCount     = 24
	workPrivateDataLen = 32
)

// checkWork tells, with [ErrUnfinished], of a write that the firmware began and did
// not end.
func (m *Image) checkWork() error {
	id := workingBlock()
	for at := m.end; at+workHeader <= len(m.data); at = at/workBlock*workBlock + workBlock {
		if GUID(m.data[at:at+16]) == id {
			size := binary.LittleEndian.Uint64(m.data[at+workQueueSize:])
			queue := m.data[at+workHeader:]
			if size > uint64(len(queue)) {
				return fmt.Errorf("%w: queue of fault tolerant writes", ErrFormat)
			}
			return checkQueue(queue[:size])
		}
	}
	return nil // a build without it, or one that has not made it yet
}

// checkQueue looks for the last of the writes in a queue.
func checkQueue(queue []byte) error {
	for len(queue) >= workWrite {
		flags := ^queue[0]
		if flags&workAllocated == 0 || flags&workWritesGiven == 0 {
			return nil // the end, or one that was not begun
		}
		if flags&workComplete == 0 {
			return ErrUnfinished
		}
		writes := binary.LittleEndian.Uint64(queue[workWriteCount:])
		private := binary.LittleEndian.Uint64(queue[workPrivateDataLen:])
		most := uint64(len(queue))
		if writes > most || private > most || workWrite+writes*(workRecord+private) > most {
			return fmt.Errorf("%w: queue of fault tolerant writes", ErrFormat)
		}
		queue = queue[workWrite+writes*(workRecord+private):]
	}
	return nil
}
