package zfspool_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// BenchmarkList is our own part of a list, beside what zfs takes.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var text strings.Builder
			for i := range n {
				fmt.Fprintf(&text, "tank/vm-%d-disk-0\t34359738368\t-\tvolume\t-\n", 100+i)
			}
			s := serve(b, run.NewFake(run.Exchange{
				Args: []string{"zfs", "list", "-o", "name,volsize,origin,type,refquota", "-t", "volume,filesystem", "-d1", "-Hp", "tank"}, Stdout: text.String(), Repeat: true,
			}), tank("tank"))
			pool, err := s.Pool(b.Context(), "tank")
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				list, err := pool.List(b.Context(), storage.Filter{Content: []storage.Content{storage.Images}})
				if err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}
