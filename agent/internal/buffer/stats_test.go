package buffer

import (
	"errors"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestCapacity fills buffers of both policies until they drop: not before what
// is not freed has reached Capacity.
func TestCapacity(t *testing.T) {
	for name, drop := range map[string]Policy{"oldest": DropOldest, "newest": DropNewest} {
		for _, size := range []int64{MinMaxSize, 7*MinSegmentSize + 1, 20 * MinSegmentSize} {
			o := Options{FS: newDisk(), MaxSize: size, SegmentSize: MinSegmentSize, Drop: drop, BootID: "1"}
			b, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			before := b.Stats()
			if before.Used > MinSegmentSize || before.Capacity <= 0 {
				t.Errorf("%s of %d: %d used of %d at the start", name, size, before.Used, before.Capacity)
			}
			for clock := int64(1); ; clock++ {
				err := b.Append(frame("a", clock, 1))
				if err != nil && !errors.Is(err, ErrDropped) {
					t.Fatal(err)
				}
				s := b.Stats()
				if err != nil || s.Lost["buffer_full"] > 0 {
					break
				}
				if s.Used < before.Used || s.Used > size {
					t.Fatalf("%s of %d: %d used, after %d", name, size, s.Used, before.Used)
				}
				before = s
			}
			if before.Used < before.Capacity {
				t.Errorf("%s of %d: drops at %d used, want not before %d", name, size, before.Used, before.Capacity)
			}
			readAll(t, b)
			if used := b.Stats().Used; used > MinSegmentSize {
				t.Errorf("%s of %d: %d used when all is freed", name, size, used)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// readAll reads and frees all that there is.
func readAll(t *testing.T, b *Buffer) {
	t.Helper()
	for r := b.Reader(); ; {
		var f telemetry.Frame
		at, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Free(at); err != nil {
			t.Fatal(err)
		}
	}
}
