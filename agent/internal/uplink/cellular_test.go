package uplink

import (
	"bytes"
	"math/rand/v2"
	"os"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// documented returns the configuration that the agent's README gives to devices on
// a cellular link.
func documented(t *testing.T) config.Config {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile("(?s)## On a cellular link.*?```yaml\n(.*?)```").FindSubmatch(text)
	if match == nil {
		t.Fatal("README.md has no example for a cellular link")
	}
	c, err := config.Parse("README.md", match[1])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCellular runs the README's example for six hours: each batch age one message
// goes out, compressed to a tenth or less, and all arrives.
func TestCellular(t *testing.T) {
	c := documented(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := run(t, s, 1, func(o *Options[int]) {
			o.BatchFrames, o.BatchSize, o.BatchAge = c.Uplink.BatchFrames, int(c.Uplink.BatchSize), c.Uplink.BatchAge
			o.MaxDrainRate, o.InFlight = c.Uplink.MaxDrainRate, c.Uplink.InFlight
			o.ReceiptTimeout, o.BackoffMin, o.BackoffMax = c.Uplink.ReceiptTimeout, c.Uplink.BackoffMin, c.Uplink.BackoffMax
			o.Compress = c.Uplink.Compression == config.CompressionZstd
		})
		b.faults = faults{Delay: 5 * time.Second}
		b.connect()
		const hours = 6
		n := 0
		rng := rand.New(rand.NewPCG(1, 1))
		for range hours * time.Hour / c.Sensors[0].Interval {
			f := field(n, rng)
			s.append(f)
			n++
			<-time.After(c.Sensors[0].Interval)
		}
		synctest.Wait()
		messages := b.published()
		if got, want := len(messages), int(hours*time.Hour/(c.Uplink.BatchAge+c.Sensors[0].Interval)); got < want || got > hours*int(time.Hour/c.Uplink.BatchAge) {
			t.Errorf("%d messages in %d hours, want one each %v", got, hours, c.Uplink.BatchAge)
		}
		sent := 0
		for i, m := range messages {
			text := plain(m.payload)
			if !bytes.HasPrefix(m.payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) || len(m.payload) > len(text)/10 {
				t.Errorf("message %d of %d bytes, from %d: want it compressed to a tenth", i, len(m.payload), len(text))
			}
			if i > 0 && m.at.Sub(messages[i-1].at) < c.Uplink.BatchAge {
				t.Errorf("message %d came %v after the one before, want %v", i, m.at.Sub(messages[i-1].at), c.Uplink.BatchAge)
			}
			sent += len(ids(m.payload))
			if i == 0 {
				t.Logf("%d readings: %d bytes, compressed %d", len(ids(m.payload)), len(text), len(m.payload))
			}
		}
		if freed, _ := s.state(); freed != sent || sent < n-int((c.Uplink.BatchAge+c.Sensors[0].Interval)/c.Sensors[0].Interval) {
			t.Errorf("sent %d of %d readings and freed %d, want all but the last %v", sent, n, freed, c.Uplink.BatchAge)
		}
	})
}

// field is a reading as a quiet place gives them: each value near the one before,
// with the noise of a BME280 and a BH1750.
func field(n int, rng *rand.Rand) telemetry.Frame {
	noise := func() telemetry.Micro { return telemetry.Micro(rng.IntN(5) - 2) }
	f := telemetry.Frame{ID: "field-3", Name: "Field 3", PlaceID: "field", Timestamp: 1763870400000 + int64(n)*1000 + int64(n%3), Sequenced: true, Epoch: 6712453190227881, Seq: uint64(n)}
	drift := telemetry.Micro(n)
	f.Payload.Set(telemetry.Temperature, 21_370_000+drift/600*10_000+noise()*10_000)
	f.Payload.Set(telemetry.Humidity, 44_200_000+drift/90*9_766+noise()*9_766)
	f.Payload.Set(telemetry.Pressure, 1_013_250_000+drift/60*1_796+noise()*1_796)
	f.Payload.Set(telemetry.Luminosity, 312_500_000+drift/10*833_333+noise()*833_333)
	return f
}
