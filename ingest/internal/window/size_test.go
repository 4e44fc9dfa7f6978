package window

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// BenchmarkState reports what an open window holds in memory: that of one more
// window of a sensor with four measures at one place, its ranges included.
func BenchmarkState(b *testing.B) {
	const sensors, windows = 1000, 10
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		e, err := NewEngine(Options{Size: time.Second, Reorder: time.Hour, Idle: time.Hour, MaxOpen: sensors * windows}, 0)
		if err != nil {
			b.Fatal(err)
		}
		now := time.Unix(1e9, 0)
		position := int64(0)
		count := func(window int) {
			for s := range sensors {
				f := telemetry.Frame{ID: fmt.Sprint("sensor-", s), Name: fmt.Sprint("Sensor ", s), PlaceID: fmt.Sprint("place-", s%10), Timestamp: int64(1e12 + window*1000), Sequenced: true, Epoch: 1, Seq: uint64(window)}
				for m := range telemetry.Measure(telemetry.Measures) {
					f.Payload.Set(m, telemetry.Micro(21_370_000+s))
				}
				for range 2 {
					e.Add(&f, position, now)
					f.Timestamp++
					f.Seq++
				}
				position++
			}
		}
		empty := heap()
		count(0)
		one := heap()
		for w := 1; w < windows; w++ {
			count(w)
		}
		all := heap()
		b.ReportMetric(float64(one-empty)/sensors, "B/sensor")
		b.ReportMetric(float64(all-one)/(sensors*(windows-1)), "B/window")
		runtime.KeepAlive(e)
	}
}
