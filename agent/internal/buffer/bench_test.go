package buffer

import (
	"errors"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func closeBuffer(b *testing.B, buf *Buffer) {
	b.Helper()
	if err := buf.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppend stores readings of four measures of one sensor.
func BenchmarkAppend(b *testing.B) {
	buf := mustOpen(b, Options{Dir: b.TempDir(), MaxSize: 1 << 30, BootID: "1"})
	f := readingOfFour()
	b.ReportAllocs()
	for b.Loop() {
		if err := buf.Append(f); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(float64(buf.Stats().BytesWritten)/float64(b.N), "B-written/frame")
	closeBuffer(b, buf)
}

// BenchmarkDrain reads them.
func BenchmarkDrain(b *testing.B) {
	buf := mustOpen(b, Options{Dir: b.TempDir(), MaxSize: 1 << 30, BootID: "1"})
	const n = 1_000_000
	for range n {
		mustAppend(b, buf, readingOfFour())
	}
	r := buf.Reader()
	var f telemetry.Frame
	b.ReportAllocs()
	for b.Loop() {
		_, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			r.Seek(0)
			_, err = r.Next(&f)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	closeBuffer(b, buf)
}

// BenchmarkReopen opens a buffer of 1 GB as after a kill, and reads its first
// frame.
func BenchmarkReopen(b *testing.B) {
	o := Options{Dir: b.TempDir(), MaxSize: 2 << 30, BootID: "1"}
	buf := mustOpen(b, o)
	for buf.Stats().Bytes < 1<<30 {
		for range 100_000 {
			mustAppend(b, buf, readingOfFour())
		}
	}
	frames := buf.Stats().Frames
	closeBuffer(b, buf)
	var f telemetry.Frame
	for b.Loop() {
		buf := mustOpen(b, o)
		if _, err := buf.Reader().Next(&f); err != nil {
			b.Fatal(err)
		}
		if got := buf.Stats().Frames; got != frames {
			b.Fatalf("%d frames, want %d", got, frames)
		}
		if err := errors.Join(buf.file.Close(), buf.lock.Close()); err != nil { // as a kill does
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit reports what the medium writes for each reading, by how many
// readings there are in a commit.
func BenchmarkCommit(b *testing.B) {
	for _, bm := range []struct {
		name string
		n    int
	}{{"1", 1}, {"10", 10}, {"20", 20}, {"100", 100}, {"1000", 1000}} {
		b.Run(bm.name, func(b *testing.B) {
			buf := mustOpen(b, Options{Dir: b.TempDir(), MaxSize: 1 << 30, BootID: "1"})
			ids := []string{"greenhouse-7", "greenhouse-7.roof", "greenhouse-7.soil", "greenhouse-7.door"}
			var slowest time.Duration
			for b.Loop() {
				for i := range bm.n {
					f := readingOfFour()
					f.ID = ids[i%len(ids)]
					mustAppend(b, buf, f)
				}
				began := time.Now()
				if err := buf.Commit(); err != nil {
					b.Fatal(err)
				}
				slowest = max(slowest, time.Since(began))
			}
			s := buf.Stats()
			n := float64(s.Appended)
			b.ReportMetric(float64(s.BytesWritten)/n, "B-written/frame")
			b.ReportMetric(float64(s.BytesSynced)/n, "B-synced/frame")
			b.ReportMetric(float64(s.BytesSynced)/float64(s.BytesWritten), "amplification")
			b.ReportMetric(float64(slowest.Microseconds()), "slowest-µs")
			closeBuffer(b, buf)
		})
	}
}

// BenchmarkFollow stores one reading at a time, and reads and frees it, as an
// agent does that is connected.
func BenchmarkFollow(b *testing.B) {
	buf := mustOpen(b, Options{Dir: b.TempDir(), MaxSize: 1 << 30, BootID: "1"})
	r := buf.Reader()
	f := readingOfFour()
	var got telemetry.Frame
	b.ReportAllocs()
	for b.Loop() {
		if err := buf.Append(f); err != nil {
			b.Fatal(err)
		}
		p, err := r.Next(&got)
		if err == nil {
			err = buf.Free(p)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	closeBuffer(b, buf)
}
