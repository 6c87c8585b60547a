package storage

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// CheckUntrusted fails where an image from outside would make QEMU read other files: by
// a backing file, a data file beside it, or extents of its own choice. A copy made of
// such an image could hold any file of the host.
func (s *Service) CheckUntrusted(ctx context.Context, path, format string) error {
	return CheckUntrusted(ctx, Env{Runner: s.o.Runner, QEMUImg: s.o.QEMUImg}, path, format, "")
}

// CheckUntrusted is what [Service.CheckUntrusted] asks, for types of storage. The backing
// file that is given, and no other, may be named.
func CheckUntrusted(ctx context.Context, env Env, path, format, backing string) error {
	args := []string{"info", "-U", "--output=json"}
	if format != "" {
		args = append(args, "-f", format)
	}
	out, err := run.OutputOf(ctx, env.Runner, run.Cmd{Path: env.QEMUImg, Args: append(args, path), ReadOnly: true})
	if err != nil {
		return err
	}
	var said struct {
		Backing string `json:"backing-filename"`
		Special struct {
			Data struct {
				File    string `json:"data-file"`
				Extents []struct {
					File string `json:"filename"`
				} `json:"extents"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return fmt.Errorf("%s: could not parse qemu-img info output: %w", path, err)
	}
	switch {
	case said.Backing != backing && said.Backing != "":
		return fmt.Errorf("image '%s' from an untrusted source references a backing file: '%s'", path, said.Backing)
	case said.Special.Data.File != "":
		return fmt.Errorf("image '%s' from an untrusted source references a data file: '%s'", path, said.Special.Data.File)
	case len(said.Special.Data.Extents) > 1:
		return fmt.Errorf("image '%s' from an untrusted source has more than one extent", path)
	}
	for _, extent := range said.Special.Data.Extents {
		if extent.File != path {
			return fmt.Errorf("image '%s' from an untrusted source references a data file: '%s'", path, extent.File)
		}
	}
	return nil
}
