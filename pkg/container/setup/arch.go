package setup

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
)

// ErrNoProgram is the error of a root without any program to tell the architecture from.
var ErrNoProgram = errors.New("no program to tell the architecture from")

// programs are asked in this order; each leads to one that runs natively.
var programs = []string{"/bin/sh", "/sbin/init", "/bin/busybox", "/usr/bin/env", "/init"}

// DetectArch tells for which architecture the programs in root are, as the option arch has it.
// Only the first bytes of a program are read.
func DetectArch(root *rootfs.Root) (string, error) {
	var wrong error
	for _, name := range programs {
		head, err := headOf(root, name)
		if err != nil {
			continue
		}
		// Before its first start NixOS has no shell but the one that its init script names.
		if script, ok := bytes.CutPrefix(head, []byte("#!")); ok {
			line, _, _ := bufio.NewReader(bytes.NewReader(script)).ReadLine()
			fields := strings.Fields(string(line))
			if len(fields) == 0 {
				continue
			}
			if head, err = headOf(root, fields[0]); err != nil {
				continue
			}
		}
		arch, err := archOf(head)
		if err == nil {
			return arch, nil
		}
		wrong = fmt.Errorf("%s: %w", name, err)
	}
	if wrong != nil {
		return "", wrong
	}
	return "", ErrNoProgram
}

// headOf reads the begin of a program.
func headOf(root *rootfs.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 256))
}

// archOf reads the header of an ELF file: its class is at byte 4, its byte order at 5, its
// machine at 18.
func archOf(head []byte) (string, error) {
	if len(head) < 20 || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return "", errors.New("not an ELF program")
	}
	machine := elf.Machine(head[18]) | elf.Machine(head[19])<<8
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		machine = elf.Machine(head[19]) | elf.Machine(head[18])<<8
	}
	switch class := elf.Class(head[elf.EI_CLASS]); {
	case machine == elf.EM_X86_64:
		return "amd64", nil
	case machine == elf.EM_386:
		return "i386", nil
	case machine == elf.EM_AARCH64:
		return "arm64", nil
	case machine == elf.EM_ARM:
		return "armhf", nil
	case machine == elf.EM_RISCV && class == elf.ELFCLASS64:
		return "riscv64", nil
	case machine == elf.EM_RISCV:
		return "riscv32", nil
	}
	return "", fmt.Errorf("unknown architecture %v", machine)
}
