package lvmthin_test

import (
	"fmt"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/lvmthin"
)

// BenchmarkList lists volumes, less what LVM itself takes.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := &lvmtest.Recorder{Volumes: []string{"data twi-aotz-- -"}}
			for i := range n {
				r.Volumes = append(r.Volumes, fmt.Sprintf("vm-%d-disk-%d Vwi-a-tz-- data", 100+i/4, i%4))
			}
			w := lvmtest.New(b, r, config, lvmthin.Type())
			p, err := w.Pool(w.Ctx, "thin")
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				list, err := p.List(w.Ctx, storage.Filter{Content: []storage.Content{storage.Images}})
				if err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}
