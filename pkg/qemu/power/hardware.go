package power

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// Hardware returns what a running VM was started as: its machine type, with its +pveN,
// and the text of -cpu. A saved state only fits the same.
func (s *Service) Hardware(ctx context.Context, vmid id.VM) (machine, cpu string, err error) {
	arg := map[string]string{"path": "/machine", "property": "type"}
	if err := s.Call(ctx, vmid, "qom-get", arg, &machine); err != nil {
		return "", "", err
	}
	machine = strings.TrimSuffix(machine, "-machine")
	r, err := s.readRecord(vmid)
	if err != nil {
		return "", "", err
	}
	if r != nil {
		if _, level, ok := strings.Cut(r.Machine, "+"); ok {
			machine += "+" + level
		}
	}
	pid, err := s.Dir.Running(vmid)
	if err != nil || pid == 0 {
		return "", "", errors.Join(err, &NotRunningError{vmid})
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", "", err
	}
	words := bytes.Split(text, []byte{0})
	if i := slices.IndexFunc(words, func(w []byte) bool { return string(w) == "-cpu" }); i >= 0 && i+1 < len(words) {
		cpu = string(words[i+1])
	}
	return machine, cpu, nil
}
