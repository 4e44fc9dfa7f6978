package jitter

import (
	"slices"
	"testing"
	"time"
)

// TestFull draws each wait often: all of the range below its bound occurs, evenly.
func TestFull(t *testing.T) {
	for _, test := range []struct {
		first, most time.Duration
		bounds      []time.Duration
	}{
		{500 * time.Millisecond, time.Minute, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}},
		{time.Second, 3 * time.Second, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}},
		{time.Minute, time.Second, []time.Duration{time.Second, time.Second}},
		{time.Millisecond, time.Millisecond, []time.Duration{time.Millisecond, time.Millisecond}},
	} {
		waits := make([][]time.Duration, len(test.bounds))
		for range 10_000 {
			b := Full(test.first, test.most)
			for i := range waits {
				waits[i] = append(waits[i], b.NextBackOff())
			}
		}
		for i, bound := range test.bounds {
			slices.Sort(waits[i])
			if least, most := waits[i][0], waits[i][len(waits[i])-1]; least < 0 || most > bound {
				t.Errorf("%v to %v: wait %d is from %v to %v, want none beyond %v", test.first, test.most, i, least, most, bound)
			}
			for tenth := 1; tenth < 10; tenth++ {
				got, want := waits[i][tenth*len(waits[i])/10], bound*time.Duration(tenth)/10
				if (got - want).Abs() > bound/20 { // ten standard deviations
					t.Errorf("%v to %v: %d tenths of wait %d are below %v, want %v", test.first, test.most, tenth, i, got, want)
				}
			}
		}
	}
}

// TestNoWaitIsNotForever holds that the bound grows from the least there is.
func TestNoWaitIsNotForever(t *testing.T) {
	b := Full(1, time.Second)
	total := time.Duration(0)
	for range 100 {
		total += b.NextBackOff()
	}
	if total < time.Second {
		t.Errorf("100 waits take %v, want more than a second", total)
	}
}
