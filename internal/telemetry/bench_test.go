package telemetry

import (
	"fmt"
	"testing"
)

func BenchmarkDecode(b *testing.B) { benchmarkDecode(b, &exampleFrame) }

func BenchmarkDecodeUnsynced(b *testing.B) { benchmarkDecode(b, &exampleUnsynced) }

func BenchmarkDecodeCalibrated(b *testing.B) { benchmarkDecode(b, &exampleCalibrated) }

func benchmarkDecode(b *testing.B, frame *Frame) {
	data := AppendFrame(nil, frame)
	var d Decoder
	var f Frame
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := d.Decode(data, &f); err != nil {
			b.Fatal(err)
		}
	}
}

// batch returns the frames of ten sensors, five of each.
func batch() []Frame {
	frames := make([]Frame, 50)
	for i := range frames {
		frames[i] = exampleFrame
		frames[i].ID = fmt.Sprintf("greenhouse-7.%d", i%10)
		frames[i].Name = fmt.Sprintf("Greenhouse 7 bed %d", i%10)
		frames[i].Seq += uint64(i / 10)
	}
	return frames
}

func BenchmarkEach50(b *testing.B) {
	data := AppendBatch(nil, batch())
	var d Decoder
	n := 0
	count := func(_ []byte, _ *Frame, err error) {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := d.Each(data, count); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/frame")
}

func BenchmarkAppendFrame(b *testing.B) {
	f := exampleFrame
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendFrame(buf[:0], &f)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkAppendBatch50(b *testing.B) {
	frames := batch()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendBatch(buf[:0], frames)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkReceiptAdd50(b *testing.B) {
	frames := batch()
	var r Receipt
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		for i := range frames {
			f := &frames[i]
			r.Add(f.ID, f.Epoch, SeqRange{First: f.Seq, Last: f.Seq})
		}
	}
}

func BenchmarkDecodeReceipt(b *testing.B) {
	data := AppendReceipt(nil, &exampleReceipt)
	var r Receipt
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := DecodeReceipt(data, &r); err != nil {
			b.Fatal(err)
		}
	}
}
