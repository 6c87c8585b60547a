package unpack

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"context"
	"github.com/virtsmith/virtsmith/pkg/api"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
)

// Architecture tells for which machine the programs in a root are, by its shell, and says
// so; amd64 where that cannot be told.
func Architecture(ctx context.Context, root *rootfs.Root) string {
	arch, err := architecture(root)
	if err != nil {
		api.Printf(ctx, "Architecture detection failed: %v\nFalling back to amd64.\nUse `pct set VMID --arch ARCH` to change.\n", err)
		return "amd64"
	}
	api.Printf(ctx, "Detected container architecture: %s\n", arch)
	return arch
}

func architecture(root *rootfs.Root) (string, error) {
	const shell = "/bin/sh"
	f, err := root.OpenFile(shell, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 20)
	if _, err := io.ReadFull(f, head); err != nil || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		//lint:ignore ST1005 upstream's words
		return "", fmt.Errorf("'%s' does not resolve to an ELF!", shell)
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	machine := elf.Machine(order.Uint16(head[18:]))
	wide := elf.Class(head[elf.EI_CLASS]) == elf.ELFCLASS64
	names := map[elf.Machine][2]string{ // 32 bits, 64 bits
		elf.EM_386: {"i386"}, elf.EM_X86_64: {"", "amd64"}, elf.EM_ARM: {"armhf"}, elf.EM_AARCH64: {"", "arm64"}, elf.EM_RISCV: {"riscv32", "riscv64"},
	}
	name := names[machine][0]
	if wide {
		name = names[machine][1]
	}
	if name == "" {
		//lint:ignore ST1005 upstream's words
		return "", fmt.Errorf("'%s' has unknown ELF machine '%d'!", shell, machine)
	}
	return name, nil
}
