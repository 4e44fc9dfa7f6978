//go:build integration

package e2e

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestAccount holds the counting of what an outage did to an agent, which the
// benchmark's verdict rests on, to outages that are written down.
func TestAccount(t *testing.T) {
	begin := time.UnixMilli(1_763_870_400_000)
	at := func(tick int) time.Time { return begin.Add(time.Duration(tick)*outageInterval + 10*time.Millisecond) }
	frame := func(tick int, seq uint64) telemetry.Frame {
		return telemetry.Frame{ID: device, Timestamp: at(tick).UnixMilli(), Sequenced: true, Epoch: 7, Seq: seq}
	}
	outage := moments{begin: begin, killed: at(10).Add(20 * time.Millisecond), back: at(15), end: at(20).Add(-10 * time.Millisecond)}
	// untouched is 20 ticks, of which 11 to 13 were without a process.
	untouched := func() (sampled map[string]sampledReading, stored []storedFrame) {
		sampled = make(map[string]sampledReading)
		for tick := range 20 {
			if 10 < tick && tick < 14 {
				continue
			}
			f := frame(tick, uint64(tick))
			sampled[momentOf(&f)] = sampledReading{at: at(tick), frame: &f}
			stored = append(stored, storedFrame{Frame: f, at: at(tick).Add(time.Second)})
		}
		return sampled, stored
	}
	key := func(tick int) string { return strconv.FormatInt(at(tick).UnixMilli(), 10) }
	const backlog = 950 * time.Millisecond // of tick 14, stored a second after
	good := account{ticks: 20, sampled: 17, gap: 3, records: 17, backlog: backlog}
	tests := []struct {
		name  string
		early bool
		spoil func(sampled map[string]sampledReading, stored []storedFrame) []storedFrame
		want  func(*account)
	}{
		{"nothing amiss", false, func(_ map[string]sampledReading, s []storedFrame) []storedFrame { return s }, func(*account) {}},
		{"a reading lost", false, func(_ map[string]sampledReading, s []storedFrame) []storedFrame { return append(s[:3], s[4:]...) },
			func(a *account) { a.lost, a.records = 1, 16 }},
		{"the last one before the kill never got there", true,
			func(_ map[string]sampledReading, s []storedFrame) []storedFrame { return append(s[:10], s[11:]...) },
			func(a *account) { a.sampled, a.gap, a.records = 16, 4, 16 }},
		{"a record delivered twice", false, func(_ map[string]sampledReading, s []storedFrame) []storedFrame { return append(s, s[2]) },
			func(a *account) { a.records, a.redundant = 18, 1 }},
		{"a reading under two numbers", false,
			func(_ map[string]sampledReading, s []storedFrame) []storedFrame {
				return append(s, storedFrame{frame(2, 99), at(2)})
			},
			func(a *account) { a.records, a.doubled, a.different = 18, 1, 1 }},
		{"another content", false,
			func(_ map[string]sampledReading, s []storedFrame) []storedFrame {
				s[2].Faults[telemetry.Humidity] = "nack"
				return s
			},
			func(a *account) { a.different = 1 }},
		{"a reading that the journal lacks", false,
			func(sampled map[string]sampledReading, s []storedFrame) []storedFrame {
				delete(sampled, key(10))
				return s
			},
			func(a *account) { a.unknown = 1 }},
		{"a tick missed", false,
			func(sampled map[string]sampledReading, s []storedFrame) []storedFrame {
				delete(sampled, key(5))
				return append(s[:5], s[6:]...)
			},
			func(a *account) { a.sampled, a.records, a.missed = 16, 16, 1 }},
		{"never restarted", false,
			func(sampled map[string]sampledReading, s []storedFrame) []storedFrame {
				for tick := 14; tick < 20; tick++ {
					delete(sampled, key(tick))
				}
				return s[:11]
			},
			func(a *account) { a.sampled, a.records, a.gap, a.backlog = 11, 11, 9, 750*time.Millisecond }},
		{"readings beyond the end", false,
			func(sampled map[string]sampledReading, s []storedFrame) []storedFrame {
				sampled[key(20)] = sampledReading{at: at(20)}
				return append(s, storedFrame{frame(21, 21), at(21)})
			},
			func(a *account) { a.unknown = 1 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sampled, stored := untouched()
			stored = test.spoil(sampled, stored)
			c := &contestant{
				sampled:   func() map[string]sampledReading { return sampled },
				reading:   func(f *telemetry.Frame) (string, bool) { return momentOf(f), f.ID == device },
				earlyNote: test.early,
			}
			want := good
			test.want(&want)
			if diff := cmp.Diff(want, c.account(stored, outage), cmp.AllowUnexported(account{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
