package nodeboot

import (
	"os"
	"path/filepath"
	"testing"
)

// Ready is what the small guest writes to its serial port each second, before its mark:
// what the second sector of its disk holds.
const Ready = "GUEST-READY "

// Sector makes the image of a disk with the small guest: a program in its first sector,
// which the BIOS starts within seconds even where a real system takes a quarter of an
// hour. It shows its mark each second, as it reads it from the disk, and writes there
// what is typed.
func Sector(t testing.TB) string {
	t.Helper()
	image := make([]byte, 4<<20)
	at := copy(image, program())
	at += copy(image[at:], "\x10\x00\x01\x00\x00\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00") // 0x6e: one sector, number 1, at 0x8000
	at += copy(image[at:], Ready+"\x00")                                                       // 0x7e
	at += copy(image[at:], "\r\n\x00")                                                         // 0x8b
	copy(image[at:], "DISK-FAULT\r\n\x00")                                                     // 0x8e; at 0x9b the number of the disk
	copy(image[510:], "\x55\xaa-")                                                             // what makes it bootable, and the first mark
	path := filepath.Join(t.TempDir(), "small.raw")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// program is the machine code of the small guest, for a processor in its first mode. The
// BIOS puts it at 0x7c00.
func program() []byte {
	return []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0x8e, 0xc0, // mov es, ax
		0x8e, 0xd0, // mov ss, ax
		0xbc, 0x00, 0x7c, // mov sp, 0x7c00
		0xfb,                   // sti
		0x88, 0x16, 0x9b, 0x7c, // mov [disk], dl

		// 0x11: read the mark and show it
		0xb4, 0x42, // mov ah, 0x42
		0xe8, 0x2d, 0x00, // call 0x43
		0xbe, 0x7e, 0x7c, // mov si, Ready
		0xe8, 0x3e, 0x00, // call 0x5a
		0xbe, 0x00, 0x80, // mov si, 0x8000
		0xe8, 0x38, 0x00, // call 0x5a
		0xbe, 0x8b, 0x7c, // mov si, end of line
		0xe8, 0x32, 0x00, // call 0x5a
		0xb9, 0x12, 0x00, // mov cx, 18

		// 0x2b: wait for a key, for 18 ticks of the clock; the BIOS reads it from the port
		0xf4,       // hlt
		0x49,       // dec cx
		0x74, 0xe2, // jz 0x11
		0xb4, 0x01, // mov ah, 1
		0xcd, 0x16, // int 0x16
		0x74, 0xf6, // jz 0x2b
		0xb4, 0x00, // mov ah, 0
		0xcd, 0x16, // int 0x16
		0xa2, 0x00, 0x80, // mov [0x8000], al
		0xb4, 0x43, // mov ah, 0x43
		0xe8, 0x02, 0x00, // call 0x43
		0xeb, 0xce, // jmp 0x11

		// 0x43: read or write the second sector
		0xb0, 0x00, // mov al, 0
		0x8a, 0x16, 0x9b, 0x7c, // mov dl, [disk]
		0xbe, 0x6e, 0x7c, // mov si, packet
		0xcd, 0x13, // int 0x13
		0x72, 0x01, // jc 0x51
		0xc3,             // ret
		0xbe, 0x8e, 0x7c, // mov si, fault
		0xe8, 0x03, 0x00, // call 0x5a
		0xf4,       // hlt
		0xeb, 0xfd, // jmp 0x57

		// 0x5a: send text to the serial port
		0xba, 0xfd, 0x03, // mov dx, 0x3fd
		0xec,       // in al, dx
		0xa8, 0x20, // test al, 0x20
		0x74, 0xfb, // jz 0x5d
		0xac,       // lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x06, // jz 0x6d
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,       // out dx, al
		0xeb, 0xed, // jmp 0x5a
		0xc3, // ret
	}
}
