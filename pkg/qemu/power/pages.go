package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// hugePages asks the kernel for the huge pages that are not free yet, and for a place
// to take them from.
func (s *Service) hugePages(ctx context.Context, b *boot) error {
	for _, h := range b.command.HugePages {
		if p := plan.From(ctx); p != nil {
			p.Stepf("reserve %d huge pages of %d MiB", h.Count, h.Size)
			continue
		}
		added, err := reservePages(h)
		if added > 0 {
			b.pages = append(b.pages, cmdline.HugePages{Size: h.Size, Node: h.Node, Count: added})
			b.undo.Add("give back huge pages", func(context.Context) error { return b.releasePages() })
		}
		if err != nil {
			return err
		}
		if err := s.mountPages(ctx, h.Size); err != nil {
			return err
		}
	}
	return nil
}

// letGoPages lets the kernel have the huge pages back that were reserved for the VM:
// each one as soon as QEMU, which has them all by now, is done with it. With
// keephugepages they stay: memory that has been used otherwise may be too torn to get
// them again.
func (s *Service) letGoPages(_ context.Context, b *boot) error {
	if keep := vm.Typed(b.doc.Values).KeepHugePages; keep != nil && *keep {
		return nil
	}
	return b.releasePages()
}

// pageCount is one of the kernel's figures on huge pages of a size.
func pageCount(h cmdline.HugePages, name string) (path string, n int, err error) {
	dir := fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB", h.Size*1024)
	if h.Node >= 0 {
		dir = fmt.Sprintf("/sys/devices/system/node/node%d/hugepages/hugepages-%dkB", h.Node, h.Size*1024)
	}
	path = filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return path, 0, err
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return path, n, err
}

// reservePages makes sure that so many pages are free, and returns how many were added.
func reservePages(h cmdline.HugePages) (added int, err error) {
	_, free, err := pageCount(h, "free_hugepages")
	if err != nil || free >= h.Count {
		return 0, err
	}
	path, before, err := pageCount(h, "nr_hugepages")
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(before+h.Count-free)), 0o644); err != nil {
		return 0, err
	}
	_, after, err := pageCount(h, "nr_hugepages")
	if err != nil {
		return 0, err
	}
	if _, free, err = pageCount(h, "free_hugepages"); err == nil && free < h.Count {
		err = fmt.Errorf("only %d of %d pages of %d MiB are free: the rest of the memory is in use", free, h.Count, h.Size)
	}
	return max(0, after-before), err
}

// releasePages takes back what reservePages has added.
func (b *boot) releasePages() error {
	pages := b.pages
	b.pages = nil
	var errs []error
	for _, h := range pages {
		path, n, err := pageCount(h, "nr_hugepages")
		if err == nil {
			err = os.WriteFile(path, []byte(strconv.Itoa(max(0, n-h.Count))), 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// mountPages makes the place from which QEMU takes huge pages.
func (s *Service) mountPages(ctx context.Context, mebibytes int) error {
	dir := fmt.Sprintf("/run/hugepages/kvm/%dkB", mebibytes*1024)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), " "+dir+" hugetlbfs ") {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return s.Run.Run(ctx, run.Command("mount", "-t", "hugetlbfs", "-o", fmt.Sprintf("pagesize=%dk", mebibytes*1024), "hugetlbfs", dir))
}
