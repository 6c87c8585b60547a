// Package qemu says what a virtual machine is: the options it is configured with, as typed values
// that read and print themselves, one file per device. How QEMU is told about them is for cmdline.
package qemu
