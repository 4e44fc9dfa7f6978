package window

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// BenchmarkEngine counts frames of 500 sensors at 1 Hz into 5-minute windows;
// the windows that close are discarded.
func BenchmarkEngine(b *testing.B) {
	const sensors = 500
	e, err := NewEngine(Options{Size: 5 * time.Minute, Reorder: 2 * time.Second, Idle: 30 * time.Second, MaxOpen: 10_000}, 0)
	if err != nil {
		b.Fatal(err)
	}
	frames := make([]telemetry.Frame, sensors)
	for i := range frames {
		f := telemetry.Frame{ID: fmt.Sprintf("sensor-%d", i), Name: "Sensor", PlaceID: "place", Sequenced: true, Epoch: 1}
		for m := range telemetry.Measure(telemetry.Measures) {
			f.Payload.Set(m, telemetry.Micro(21_370_000+i))
		}
		frames[i] = f
	}
	now := time.Unix(1e9, 0)
	b.ReportAllocs()
	position := int64(0)
	for b.Loop() {
		f := &frames[position%sensors]
		f.Timestamp = 1e12 + position/sensors*1000
		f.Seq = uint64(position / sensors)
		if outcome := e.Add(f, position, now); outcome != Counted {
			b.Fatalf("outcome %d", outcome)
		}
		if len(e.Ready()) > 0 {
			e.Done()
		}
		position++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

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
