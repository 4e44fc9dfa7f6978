package uplink

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestCompressed sends a batch as a zstd frame, and a message that would not
// become shorter as it is.
func TestCompressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := deaf(run(t, s, 1, func(o *Options[int]) { o.Compress, o.BatchFrames, o.BatchSize = true, 50, 1<<20 }))
		s.append(readings(0, 50)...)
		<-time.After(time.Second)
		b.uplink.Receive(receiptFor(0, 49))
		s.append(readings(50, 1)...)
		<-time.After(2 * time.Second)
		synctest.Wait()
		messages := b.published()
		if len(messages) != 2 {
			t.Fatalf("%d messages, want 2", len(messages))
		}
		batch := telemetry.AppendBatch(nil, readings(0, 50))
		if !bytes.HasPrefix(messages[0].payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) || len(messages[0].payload) > len(batch)/4 {
			t.Errorf("message of %d bytes that begins with % x, want a zstd frame of less than a quarter of %d", len(messages[0].payload), messages[0].payload[:4], len(batch))
		}
		if got := plain(messages[0].payload); !bytes.Equal(got, batch) {
			t.Errorf("message %s\nwant    %s", got, batch)
		}
		single := readings(50, 1)
		if want := telemetry.AppendFrame(nil, &single[0]); !bytes.Equal(messages[1].payload, want) {
			t.Errorf("message %q\nwant    %q", messages[1].payload, want)
		}
		if got, want := b.uplink.count.bytes.Get(), uint64(len(messages[0].payload)+len(messages[1].payload)); got != want {
			t.Errorf("counted %d bytes, want %d", got, want)
		}
	})
}
