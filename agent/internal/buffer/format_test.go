package buffer

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

var update = flag.Bool("update", false, "write the golden files")

// readingOfFour is a reading as a sensor with a BME280 and a BH1750 makes it.
func readingOfFour() *telemetry.Frame {
	f := &telemetry.Frame{ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: 1763870400123}
	f.Payload.Set(telemetry.Temperature, 21_370_000)
	f.Payload.Set(telemetry.Humidity, 44_200_000)
	f.Payload.Set(telemetry.Pressure, 1013_250_000)
	f.Payload.Set(telemetry.Luminosity, 312_500_000)
	return f
}

// TestGolden holds the bytes of a whole folder to the README's diagrams.
func TestGolden(t *testing.T) {
	d := newDisk()
	b := mustOpen(t, Options{
		FS: d, BootID: "boot-1", SegmentSize: MinSegmentSize, MaxSize: MinMaxSize * 2, ReserveAhead: 64,
		Rand: strings.NewReader("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"),
	})
	mustAppend(t, b, readingOfFour())
	faulty := &telemetry.Frame{ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: 1763870401123}
	faulty.Payload.Set(telemetry.Temperature, -40_000_000)
	faulty.Faults[telemetry.Humidity] = "nack"
	mustAppend(t, b, faulty)
	d.fault = func(op, _ string) error {
		if op == "write" {
			return os.ErrPermission
		}
		return nil
	}
	if err := b.Append(readingOfFour()); err == nil {
		t.Fatal("Append succeeded on a disk that cannot be written")
	}
	d.fault = nil
	mustAppend(t, b, readingOfFour())
	calibrated := &telemetry.Frame{ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: 1763870401223}
	calibrated.Payload.Set(telemetry.Temperature, -39_650_000)
	calibrated.Raw.Set(telemetry.Temperature, -40_000_000)
	calibrated.Raw.Set(telemetry.Humidity, 71_250_000)
	calibrated.Faults[telemetry.Humidity] = "stuck"
	mustAppend(t, b, calibrated)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	fmt.Fprintf(&got, "%s\n%s", identityName, hex.Dump(d.names[identityName].data))
	for _, name := range d.segmentNames() {
		fmt.Fprintf(&got, "%s\n", name)
		dump(&got, d, name, b.id.salt)
	}
	golden(t, "format.golden", got.String())
}

// TestGoldenClock does the same for what a machine that does not know the time,
// and a disk that fails, add.
func TestGoldenClock(t *testing.T) {
	d := newDisk()
	o := Options{
		FS: d, BootID: "boot-1", SegmentSize: MinSegmentSize, MaxSize: MinMaxSize * 2, ReserveAhead: 64,
		Rand: strings.NewReader("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"),
	}
	b := mustOpen(t, o)
	if err := b.AppendWaiting(readingOfFour(), 90*time.Second); err != nil {
		t.Fatal(err)
	}
	b.SetClock(time.UnixMilli(1763870310123))
	mustCommit(t, b)
	unsynced := readingOfFour()
	unsynced.Timestamp, unsynced.Clock = 91_000, telemetry.ClockUnsynced
	mustAppend(t, b, unsynced)

	o.FS, o.Rand = newMemory(), strings.NewReader("\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c")
	memory := mustOpen(t, o)
	mustAppend(t, memory, readingOfFour())
	freeAll(t, memory)
	mustAppend(t, memory, readingOfFour())
	if err := errors.Join(b.adopt(memory), b.received(memory.Epoch()), b.Close()); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	dump(&got, d, segmentName(0), b.id.salt)
	golden(t, "clock.golden", got.String())
}

// TestRawMeasures has records whose raw names no measure, or one that there is not.
func TestRawMeasures(t *testing.T) {
	for measures, want := range map[byte]bool{0: false, 1: true, 8: true, 0x10: false, 0x11: false} {
		payload := []byte{9, flagRaw, 0, 5, 2, measures, 7}
		if measures == 0 {
			payload = payload[:6]
		}
		var f telemetry.Frame
		if _, ok := decodeFrame(payload, &f, nil); ok != want {
			t.Errorf("raw of the measures %#x: taken %t, want %t: %+v", measures, ok, want, f)
		}
	}
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// dump writes a segment record by record.
func dump(w *strings.Builder, d *disk, name string, salt uint32) {
	names := map[recordType]string{
		typeSensor: "sensor", typeFrame: "frame", typeLoss: "loss", typeMark: "mark",
		typeCommit: "commit", typeBoot: "boot", typeClose: "close", typeClock: "clock",
	}
	base, _ := parseSegmentName(name)
	data := d.names[name].data
	fmt.Fprintf(w, "header\n%s", hex.Dump(data[:headerSize]))
	scan := scanner{fs: d, salt: salt}
	for scan.start(base, base+Position(len(data))); ; {
		rec, err := scan.next()
		if err != nil {
			break
		}
		fmt.Fprintf(w, "%s at %d\n%s", names[rec.typ], rec.pos, hex.Dump(data[rec.pos-base:rec.end()-base]))
	}
}

func TestFrameSize(t *testing.T) {
	var enc encoder
	for _, tt := range []struct {
		seq  uint64
		want int
	}{{0, 35}, {1 << 7, 36}, {157_000_000, 38}} { // the last: after five years at 1 Hz
		enc.reset(0)
		enc.frame(0, &reading{Frame: readingOfFour()}, tt.seq)
		if len(enc.buf) != tt.want {
			t.Errorf("seq %d: %d bytes, want %d", tt.seq, len(enc.buf), tt.want)
		}
	}
	for _, smallest := range []struct {
		encode func()
		want   int
	}{
		{func() { enc.frame(0, &reading{Frame: &telemetry.Frame{}}, 0) }, minNumber},
		{func() { enc.loss(lossRecord{}) }, minNumber},
		{func() { enc.mark(markRecord{}) }, minMark},
	} {
		enc.reset(0)
		smallest.encode()
		if len(enc.buf) < smallest.want {
			t.Errorf("a record of %d bytes, want at least %d", len(enc.buf), smallest.want)
		}
	}
}

// TestMovedBytes has a record verify at its own position in its own buffer,
// and nowhere else.
func TestMovedBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		salt := rapid.Uint32().Draw(t, "salt")
		pos := Position(rapid.Uint64().Draw(t, "position"))
		enc := encoder{salt: salt}
		enc.reset(pos)
		enc.frame(3, &reading{Frame: readingOfFour()}, 7)
		if _, ok := parseRecord(salt, pos, enc.buf); !ok {
			t.Fatal("does not verify where it is")
		}
		shift := Position(rapid.Uint64Range(1, MaxSegmentSize).Draw(t, "shift"))
		if _, ok := parseRecord(salt, pos+shift, enc.buf); ok && (pos+shift)>>32 == pos>>32 {
			t.Fatalf("verifies %d bytes on", shift)
		}
		if other := rapid.Uint32().Draw(t, "other"); other != salt {
			if _, ok := parseRecord(other, pos, enc.buf); ok {
				t.Fatalf("verifies in the buffer of salt %d", other)
			}
		}
		i := rapid.IntRange(0, 8*len(enc.buf)-1).Draw(t, "bit")
		enc.buf[i/8] ^= 1 << (i % 8)
		if _, ok := parseRecord(salt, pos, enc.buf); ok {
			t.Fatalf("verifies with bit %d changed", i)
		}
	})
}

// TestRecords has each payload come back as it was.
func TestRecords(t *testing.T) {
	seq := rapid.Uint64Range(0, telemetry.MaxSeq)
	text := rapid.StringN(0, 20, 60)
	rapid.Check(t, func(t *rapid.T) {
		payload := func(build func(*encoder)) []byte {
			var enc encoder
			build(&enc)
			rec, ok := parseRecord(0, 0, enc.buf)
			if !ok {
				t.Fatal("does not verify")
			}
			return rec.payload
		}
		f := telemetry.Frame{Seq: seq.Draw(t, "seq"), Timestamp: rapid.Int64().Draw(t, "timestamp")}
		for m := telemetry.Measure(0); m < telemetry.Measures; m++ {
			if rapid.Bool().Draw(t, "present") {
				f.Payload.Set(m, telemetry.Micro(rapid.Int64().Draw(t, "value")))
			}
			f.Faults[m] = text.Draw(t, "fault")
			if rapid.Bool().Draw(t, "raw") {
				f.Raw.Set(m, telemetry.Micro(rapid.Int64().Draw(t, "raw value")))
			}
		}
		var gotFrame telemetry.Frame
		r := reading{Frame: &f}
		switch rapid.IntRange(0, 2).Draw(t, "clock") {
		case 1:
			r.boot, r.stamp = rapid.Uint64Range(1, maxBoot).Draw(t, "boot"), rapid.Int64().Draw(t, "stamp")
		case 2:
			f.Clock = telemetry.ClockUnsynced
		}
		head, ok := decodeFrame(payload(func(e *encoder) { e.frame(9, &r, f.Seq) }), &gotFrame, func(p []byte) string { return string(p) })
		want := f
		if r.boot != 0 {
			want.Timestamp = r.stamp
		}
		if !ok || head.index != 9 || head.boot != r.boot || gotFrame != want {
			t.Errorf("frame %v of boot %d, want %v of %d", gotFrame, head.boot, want, r.boot)
		}
		s := sensorRecord{
			index: 4095, next: seq.Draw(t, "next"), mark: seq.Draw(t, "mark"), floor: seq.Draw(t, "floor"),
			label: label{sensorKey{seq.Draw(t, "epoch"), "a" + text.Draw(t, "id")}, text.Draw(t, "name"), text.Draw(t, "place")},
		}
		if got, ok := decodeSensor(payload(func(e *encoder) { e.sensor(&s) })); !ok || got != s {
			t.Errorf("sensor %v, want %v", got, s)
		}
		first := seq.Draw(t, "first")
		l := lossRecord{2, reasonCorrupt, telemetry.SeqRange{First: first, Last: rapid.Uint64Range(first, telemetry.MaxSeq).Draw(t, "last")}}
		if got, ok := decodeLoss(payload(func(e *encoder) { e.loss(l) })); !ok || got != l {
			t.Errorf("loss %v, want %v", got, l)
		}
		c := clockRecord{
			rapid.Uint64Range(1, maxBoot).Draw(t, "clock boot"), clockState(rapid.IntRange(0, int(clockEstimated)).Draw(t, "state")),
			rapid.Int64().Draw(t, "last"), rapid.Int64().Draw(t, "offset"),
		}
		p := payload(func(e *encoder) { e.clock(c) })
		if got, ok := decodeClock(p); !ok || got != c || len(p)+prefixSize+crcSize > clockSize {
			t.Errorf("clock %v in %d bytes, want %v", got, len(p), c)
		}
		m := markRecord{3, reasonBufferFull, s.mark}
		if got, ok := decodeMark(payload(func(e *encoder) { e.mark(m) })); !ok || got != m {
			t.Errorf("mark %v, want %v", got, m)
		}
	})
}
