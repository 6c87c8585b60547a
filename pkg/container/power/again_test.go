package power

import (
	"testing"
	"time"
)

func TestRest(t *testing.T) {
	for hasty, want := range map[int]time.Duration{0: 0, 1: 0, 5: 0, 6: 5 * time.Second, 7: 10 * time.Second, 17: time.Minute, 1000: time.Minute} {
		if got := rest(hasty); got != want {
			t.Errorf("after %d hasty reboots it waits for %v, want %v", hasty, got, want)
		}
	}
}
