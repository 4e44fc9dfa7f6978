package bridge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// compress makes a zstd frame.
func compress(tb testing.TB, text []byte, options ...zstd.EOption) []byte {
	tb.Helper()
	e, err := zstd.NewWriter(nil, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, options...)...)
	if err != nil {
		tb.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(text, nil)
}

// stream makes a zstd frame that does not tell the size of its content.
func stream(tb testing.TB, text []byte, window int) []byte {
	tb.Helper()
	var b bytes.Buffer
	e, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		tb.Fatal(err)
	}
	for chunk := range bytes.SplitAfterSeq(text, []byte("}")) {
		if _, err := e.Write(chunk); err != nil {
			tb.Fatal(err)
		}
	}
	if err := e.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := e.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// ofSize is a message of n bytes.
func ofSize(n int) []byte {
	return append([]byte(frame), bytes.Repeat([]byte(" "), n-len(frame))...)
}

func TestCompressedMessagesAreCarried(t *testing.T) {
	batch := telemetry.AppendBatch(nil, []telemetry.Frame{benchFrame("greenhouse-7", 70), benchFrame("greenhouse-7", 71), benchFrame("greenhouse-7", 72)})
	for name, test := range map[string]struct {
		payload, text []byte
	}{
		"frame":                        {compress(t, []byte(frame)), []byte(frame)},
		"batch":                        {compress(t, batch), batch},
		"batch, of unknown size":       {stream(t, batch, 64<<10), batch},
		"batch, without a checksum":    {compress(t, batch, zstd.WithEncoderCRC(false)), batch},
		"empty batch":                  {compress(t, []byte("[]"), zstd.WithZeroFrames(true)), []byte("[]")},
		"as large as may be":           {compress(t, ofSize(100_000)), ofSize(100_000)},
		"as large, of unknown size":    {stream(t, ofSize(100_000), 64<<10), ofSize(100_000)},
		"two frames, one after other":  {append(compress(t, batch[:100]), compress(t, batch[100:])...), batch},
		"hardly anything to be gained": {compress(t, []byte(frame), zstd.WithNoEntropyCompression(true)), []byte(frame)},
	} {
		t.Run(name, func(t *testing.T) {
			good := Message{Topic: deviceTopic, Payload: []byte(frame)}
			records, receipts, registry := carry(t, Message{Topic: deviceTopic, Payload: test.payload}, good)
			want, wantReceipts, _ := carry(t, Message{Topic: deviceTopic, Payload: test.text}, good)
			if diff := cmp.Diff(want, records); diff != "" {
				t.Errorf("records (-uncompressed +compressed):\n%s", diff)
			}
			if diff := cmp.Diff(wantReceipts, receipts); diff != "" {
				t.Errorf("receipts (-uncompressed +compressed):\n%s", diff)
			}
			exposition := `
				# HELP telltale_bridge_compressed_messages_total Messages of devices that came compressed, broken ones included.
				# TYPE telltale_bridge_compressed_messages_total counter
				telltale_bridge_compressed_messages_total 1
			`
			if err := testutil.GatherAndCompare(registry, strings.NewReader(exposition), "telltale_bridge_compressed_messages_total", "telltale_bridge_dead_letters_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is no zstd frame, or one of too much, goes to the dead-letter topic as it
// came; what was decompressed and is no message, as the text that it is.
func TestBadCompressionBecomesDeadLetters(t *testing.T) {
	whole := compress(t, []byte("["+strings.Repeat(frame+",", 9)+frame+"]"))
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1 // of the checksum
	type letter struct{ topic, payload, reason, text string }
	tests := map[string]letter{
		"magic number alone":        {deviceTopic, string(zstdMagic), "bad_compression", ""},
		"broken checksum":           {deviceTopic, string(flipped), "bad_compression", ""},
		"a dictionary not known":    {deviceTopic, string(compress(t, ofSize(1000), zstd.WithEncoderDictRaw(7, ofSize(500)))), "bad_compression", ""},
		"a window beyond the limit": {deviceTopic, string(stream(t, []byte(frame), 128<<10)), "too_large", ""},
		"one byte too many":         {deviceTopic, string(compress(t, ofSize(100_001))), "too_large", ""},
		"too many, of unknown size": {deviceTopic, string(stream(t, ofSize(100_001), 64<<10)), "too_large", ""},
		"bomb":                      {deviceTopic, string(compress(t, make([]byte, 64<<20))), "too_large", ""},
		"bomb of unknown size":      {deviceTopic, string(stream(t, make([]byte, 64<<20), 64<<10)), "too_large", ""},
		"bomb in two frames":        {deviceTopic, string(append(compress(t, ofSize(60_000)), compress(t, ofSize(60_000))...)), "too_large", ""},
		"nothing in it":             {deviceTopic, string(compress(t, nil, zstd.WithZeroFrames(true))), "not_json", ""},
		"no message in it":          {deviceTopic, string(compress(t, []byte("temperature=21"))), "not_json", "temperature=21"},
		"compressed twice":          {deviceTopic, string(compress(t, whole)), "not_json", string(whole)},
		"by the seed topic":         {telemetry.SeedTopic, string(whole), "not_json", string(whole)},
	}
	for n := 1; n < 9; n++ {
		tests[fmt.Sprintf("%d bytes behind it", n)] = letter{deviceTopic, string(whole) + strings.Repeat("x", n), "bad_compression", ""}
	}
	for n := len(zstdMagic) + 1; n < len(whole); n++ {
		tests[fmt.Sprintf("cut off at %d", n)] = letter{deviceTopic, string(whole[:n]), "bad_compression", ""}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			records, receipts, registry := carry(t, Message{Topic: test.topic, Payload: []byte(test.payload)}, Message{Topic: deviceTopic, Payload: []byte(frame)})
			if len(records) != 2 || len(receipts) != 1 {
				t.Fatalf("%d records and %d receipts, want a dead letter, a frame and its receipt", len(records), len(receipts))
			}
			want := test.payload
			if test.text != "" || test.reason == "not_json" {
				want = test.text
			}
			dead := records[0]
			if dead.Topic != deadletter.Topic || dead.Headers["reason"] != test.reason || dead.Headers["detail"] == "" || dead.Value != want {
				t.Errorf("dead letter %.80q with %v on %s, want %.80q with reason %s", dead.Value, dead.Headers, dead.Topic, want, test.reason)
			}
			exposition := fmt.Sprintf(`
				# HELP telltale_bridge_dead_letters_total Frames and messages refused, by reason.
				# TYPE telltale_bridge_dead_letters_total counter
				telltale_bridge_dead_letters_total{reason=%q} 1
			`, test.reason)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(exposition), "telltale_bridge_dead_letters_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a compressed message counts against the bound is what it becomes.
func TestUnacknowledgedSizeIsDecompressed(t *testing.T) {
	gate := make(chan error)
	b, _ := newBridge(t, Options{Producer: &produced{gate: gate}, MaxUnacknowledgedSize: 150_000})
	b.Handle(t.Context(), Message{Topic: deviceTopic, Payload: compress(t, ofSize(90_000)), Ack: func() {}})
	if b.size != 90_000 {
		t.Errorf("%d bytes are unacknowledged, want 90000", b.size)
	}
	if b.fits(len(frame)) {
		t.Error("another message fits beside one of more than half of the bound")
	}
}

// FuzzDecompress: whatever comes, there is an error or no more than the limit,
// and what was decompressed compresses to the same again.
func FuzzDecompress(f *testing.F) {
	f.Add(compress(f, []byte(frame)))
	f.Add(stream(f, []byte(frame), 4<<10))
	f.Add(compress(f, make([]byte, 1<<20)))
	f.Add(append(compress(f, []byte("[")), compress(f, []byte("]"))...))
	f.Add(append(bytes.Clone(zstdMagic), 0x20, 0x00, 0x01, 0, 0))
	d := decompressor{limit: 10_000}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !compressed(payload) {
			payload = append(bytes.Clone(zstdMagic), payload...)
		}
		text, err := d.decompress(payload)
		if err != nil {
			return
		}
		if len(text) > 10_000 || cap(d.text) != 10_000 {
			t.Fatalf("%d bytes in memory of %d, the limit is 10000", len(text), cap(d.text))
		}
		text = bytes.Clone(text)
		again, err := d.decompress(compress(t, text, zstd.WithZeroFrames(true)))
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("compressed and decompressed: %q, %v; want %q", again, err, text)
		}
	})
}
