package buffer

import (
	"errors"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

var fuzzIdentity = identity{epoch: 1, salt: 2}

// openFuzzed opens a folder with one segment, and uses it.
func openFuzzed(t *testing.T, data []byte) {
	d := newDisk()
	d.names[identityName] = &inode{data: fuzzIdentity.encode()}
	d.names[segmentName(0)] = &inode{data: data}
	b, err := Open(Options{FS: d, SegmentSize: MinSegmentSize, MaxSize: 1 << 20, BootID: "1"})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	r := b.Reader()
	last := Position(0)
	for {
		var f telemetry.Frame
		p, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			break
		}
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		if p <= last {
			t.Fatalf("position %d after %d", p, last)
		}
		last = p
	}
	switch err := b.Append(frame("a", 1, 1)); {
	case errors.Is(err, ErrFrame): // its numbers are used up
	case err != nil:
		t.Fatalf("Append: %v", err)
	default:
		if err := b.Free(last); err != nil {
			t.Fatalf("Free: %v", err)
		}
	}
	b.Stats()
	if err := b.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// FuzzSegment opens a segment of arbitrary bytes.
func FuzzSegment(f *testing.F) {
	d := store(f, 9, false, true).disk
	f.Add(trimZeros(d.names[segmentName(0)].data))
	f.Add([]byte{})
	f.Fuzz(openFuzzed)
}

// FuzzRecords opens a segment of records that verify, with arbitrary types
// and payloads: each is one byte of type, one of length, and the payload.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x01\x08\x00\x00\x00\x00\x01a\x00\x00\x02\x06\x00\x00\x00\x00\x00\x00\x03\x04\x00\x01\x05\x02\x06\x02\x011\x07\x03\x01\x00\x09"))
	f.Fuzz(func(t *testing.T, in []byte) { openFuzzed(t, segmentOf(in)) })
}

// segmentOf makes a segment of the records that in describes.
func segmentOf(in []byte) []byte {
	enc := encoder{salt: fuzzIdentity.salt, buf: make([]byte, headerSize)}
	h := header{identity: fuzzIdentity, sensors: 1, head: headerSize}
	h.put(enc.buf)
	for len(in) >= 2 {
		n := min(int(in[1]), len(in)-2)
		enc.begin(1 + recordType(in[0])%maxRecordType)
		enc.buf = append(enc.buf, in[2:2+n]...)
		enc.end()
		in = in[2+n:]
	}
	return enc.buf
}

// inspectFuzzed looks at a folder with one segment, and checks that this agrees with
// opening it.
func inspectFuzzed(t *testing.T, data []byte) {
	d := newDisk()
	d.names[identityName] = &inode{data: fuzzIdentity.encode()}
	d.names[segmentName(0)] = &inode{data: data}
	i := mustInspect(t, Options{FS: d, BootID: "1"})
	if err := i.Records(t.Context(), func(*RawRecord) error { return nil }); err != nil {
		t.Fatalf("Records: %v", err)
	}
	for _, all := range []bool{false, true} {
		if err := i.Frames(t.Context(), all, func(*Shown) error { return nil }); err != nil {
			t.Fatalf("Frames: %v", err)
		}
	}
	agree(t, d, Options{SegmentSize: max(MinSegmentSize, int64(len(data))), BootID: "1"})
}

// FuzzInspectSegment looks at a segment of arbitrary bytes.
func FuzzInspectSegment(f *testing.F) {
	d := store(f, 9, false, true).disk
	f.Add(trimZeros(d.names[segmentName(0)].data))
	f.Add([]byte{})
	f.Fuzz(inspectFuzzed)
}

// FuzzInspectRecords looks at a segment of records that verify, made as those of
// FuzzRecords.
func FuzzInspectRecords(f *testing.F) {
	f.Add([]byte("\x01\x08\x00\x00\x00\x00\x01a\x00\x00\x02\x06\x00\x00\x00\x00\x00\x00\x03\x04\x00\x01\x05\x02\x06\x02\x011\x07\x03\x01\x00\x09"))
	f.Fuzz(func(t *testing.T, in []byte) { inspectFuzzed(t, segmentOf(in)) })
}
