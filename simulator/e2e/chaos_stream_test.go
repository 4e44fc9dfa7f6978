//go:build integration

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const (
	streamSensors  = 100
	streamPlaces   = 10
	streamReadings = 1980                   // of each sensor: a third in each stretch
	streamInterval = 250 * time.Millisecond // between two of them
	streamWindow   = 5 * time.Second
	streamIdle     = 2 * time.Second
	streamLatest   = 30 * 24 * time.Hour // after its timestamp a frame may be received; later is too late
)

// stream is what agents would send through the bridge: the frames of sensors
// with everything that befalls frames, in the order of their arrival. All of it
// follows from a seed.
type stream struct {
	records []kafka.Message
	journal *verify.Journal   // each frame once
	refused map[string]string // dead letters' reasons by payload: what no window and, unless it is a frame, no document has
	sent    atomic.Int64
}

// placed places a record in the stream, from 0 to 1.
type placed struct {
	at     float64
	record kafka.Message
}

// streamBegins are when the readings begin, before now: what is sent late comes
// after readings that were taken hours or days later.
var streamBegins = []time.Duration{3 * 24 * time.Hour, 5 * time.Hour, 10 * time.Minute}

func newStream(seed uint64, sensors int) *stream {
	s := &stream{journal: verify.NewJournal(nil), refused: make(map[string]string)}
	rng := rand.New(rand.NewPCG(seed, 1))
	var all []placed
	now := time.Now()
	for i := range sensors {
		all = append(all, s.sensor(i, now, rand.New(rand.NewPCG(seed, uint64(i)+2)))...)
	}
	for i, poison := range []struct{ value, reason string }{
		{"", telemetry.ReasonNotJSON},
		{"{", telemetry.ReasonNotJSON},
		{"\x00\xff\xfe", telemetry.ReasonNotJSON},
		{`[{"id":"chaos-001","timestamp":1763870400000}]`, telemetry.ReasonWrongType},
		{`{"id":"chaos-001"}`, telemetry.ReasonMissingTimestamp},
		{`{"timestamp":1763870400000}`, telemetry.ReasonMissingID},
		{`{"id":"chaos-001","timestamp":1763870400000,"seq":1}`, telemetry.ReasonMissingEpoch},
		{`{"id":"chaos-001","timestamp":1763870400000,"payload":{"temperature":1e400}}`, telemetry.ReasonOutOfRange},
		{`{"id":"chaos-001","epoch":1,"lost":{"seq":[2,1],"reason":"power_cut"}}`, telemetry.ReasonOutOfRange},
	} {
		s.refused[poison.value] = poison.reason
		for range 3 {
			all = append(all, placed{rng.Float64(), record(fmt.Sprintf("chaos-%03d", i), []byte(poison.value))})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	for _, p := range all {
		s.records = append(s.records, p.record)
	}
	return s
}

// record makes a record as the bridge writes it.
func record(id string, value []byte) kafka.Message {
	return kafka.Message{Key: []byte(id), Value: value, Headers: []kafka.Header{{Key: "device", Value: []byte(id)}}}
}

// sensor makes the records of one sensor.
func (s *stream) sensor(i int, now time.Time, rng *rand.Rand) []placed {
	id := fmt.Sprintf("chaos-%03d", i)
	clock := time.Duration(0) // how far it is ahead
	switch i {
	case 11:
		clock = -365 * 24 * time.Hour // all of it is too late
	case 13:
		clock = 365 * 24 * time.Hour
	case 17:
		clock = -20 * 24 * time.Hour
	}
	keep := func(f *telemetry.Frame) {
		s.journal.Record(f)
		if -clock > streamLatest {
			s.refused[string(telemetry.AppendFrame(nil, f))] = "too_late"
		}
	}
	var records []placed
	send := func(at float64, f *telemetry.Frame) {
		records = append(records, placed{at, record(id, telemetry.AppendFrame(nil, f))})
	}
	epoch, seq := rng.Uint64N(telemetry.MaxSeq), uint64(rng.IntN(1000))
	name, place := "Sensor "+id, fmt.Sprintf("place-%d", i%streamPlaces)
	if i == 19 {
		place = ""
	}
	absent := 0                // readings that are still to be left out
	returns := 0.0             // when some of them come after all; 0: never
	var latest []kafka.Message // to be sent again
	temperature := rng.Int64N(30e6)
	for k := range streamReadings {
		at := (float64(k) + rng.Float64()) / streamReadings
		begin := streamBegins[k*len(streamBegins)/streamReadings]
		into := time.Duration(k%(streamReadings/len(streamBegins))) * streamInterval
		f := telemetry.Frame{
			ID: id, Name: name, PlaceID: place, Timestamp: now.Add(clock - begin + into).Truncate(50 * time.Millisecond).UnixMilli(),
			Sequenced: i%25 != 3 && (i != 7 || k > streamReadings/2), // 7 is upgraded on the way
		}
		if f.Sequenced {
			f.Epoch, f.Seq = epoch, seq
		}
		temperature += rng.Int64N(200_001) - 100_000
		f.Payload.Set(telemetry.Temperature, telemetry.Micro(temperature))
		if i%4 != 0 && rng.IntN(20) > 0 {
			f.Payload.Set(telemetry.Humidity, telemetry.Micro(rng.Int64N(100e6+1)))
		} else {
			f.Faults[telemetry.Humidity] = "nack"
		}
		if i%3 != 0 {
			f.Payload.Set(telemetry.Luminosity, telemetry.MaxMicro-telemetry.Micro(rng.Int64N(1e6)))
		}

		if absent == 0 && f.Sequenced && rng.IntN(80) == 0 {
			absent, returns = 1+rng.IntN(8), 0
			if rng.IntN(3) == 0 {
				returns = at + rng.Float64()*(1-at)
			}
			if rng.IntN(10) == 0 {
				absent *= 12 // across windows
			}
			if rng.IntN(2) == 0 {
				s.declare(&f, uint64(absent), at, rng, send)
			}
		}
		switch {
		case absent > 0:
			absent--
			if returns > 0 && rng.IntN(2) == 0 {
				keep(&f)
				send(returns, &f)
			}
		default:
			keep(&f)
			arrives := at
			switch rng.IntN(100) {
			case 0: // late: by hours or days if another stretch has begun
				arrives += rng.Float64() * (1 - at)
			case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15: // by seconds
				arrives += float64(rng.IntN(20)) / streamReadings
			}
			send(arrives, &f)
			if rng.IntN(40) == 0 {
				send(arrives+rng.Float64()/streamReadings, &f)
			}
			latest = append(latest, records[len(records)-1].record)
			if rng.IntN(500) == 0 { // its agent had no receipts for these
				again := arrives + rng.Float64()*(1-arrives)
				for _, r := range latest[max(0, len(latest)-40):] {
					records = append(records, placed{again, r})
				}
			}
		}

		seq++
		if rng.IntN(700) == 0 && absent == 0 {
			epoch, seq = rng.Uint64N(telemetry.MaxSeq), 0 // another buffer
		}
		if i%10 == 5 && rng.IntN(30) == 0 {
			place, name = fmt.Sprintf("place-%d", rng.IntN(streamPlaces)), fmt.Sprintf("Sensor %s.%d", id, rng.IntN(100))
		}
	}
	return records
}

// declare sends the declaration that the next n readings from f are lost, or two
// that do not agree.
func (s *stream) declare(f *telemetry.Frame, n uint64, at float64, rng *rand.Rand, send func(float64, *telemetry.Frame)) {
	reasons := []string{"buffer_full", "power_cut", "corrupt"}
	for range 1 + rng.IntN(2) {
		first := f.Seq - min(f.Seq, rng.Uint64N(3))
		last := f.Seq + rng.Uint64N(n+3)
		loss := telemetry.Frame{ID: f.ID, Epoch: f.Epoch, Lost: telemetry.Loss{
			Seqs: telemetry.SeqRange{First: first, Last: last}, Reason: reasons[rng.IntN(len(reasons))],
		}}
		when := at + float64(rng.IntN(30)-5)/streamReadings
		if rng.IntN(5) == 0 {
			when = rng.Float64()
		}
		send(when, &loss)
		if rng.IntN(10) == 0 {
			send(when+rng.Float64()*(1-when), &loss)
		}
	}
}

// send writes the records to iot-frames, spread evenly over a time. The last
// tenth waits for finish: whatever is done until then is done in mid-stream. What
// Kafka does not take is sent again.
func (s *stream) send(ctx context.Context, t testing.TB, brokers []string, over time.Duration, finish <-chan struct{}) error {
	const batch = 250
	writer := &kafka.Writer{
		Addr: kafka.TCP(brokers...), Topic: "iot-frames", Balancer: kafka.Murmur2Balancer{Consistent: true},
		RequiredAcks: kafka.RequireAll, BatchSize: batch, BatchTimeout: 5 * time.Millisecond, WriteTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		Transport: &kafka.Transport{MetadataTTL: time.Second},
	}
	defer writer.Close()
	begin := time.Now()
	for i := 0; i < len(s.records); i += batch {
		if i < len(s.records)*9/10 {
			select {
			case <-time.After(time.Until(begin.Add(over * time.Duration(i) / time.Duration(len(s.records))))):
			case <-ctx.Done():
				return ctx.Err()
			}
		} else {
			select {
			case <-finish:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		records := s.records[i:min(i+batch, len(s.records))]
		for attempt := 1; ; attempt++ {
			err := writer.WriteMessages(ctx, records...)
			if err == nil {
				break
			}
			if attempt == 1 {
				t.Logf("the stream is sent again from record %d: %.200s", i, err)
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.sent.Store(int64(i + len(records)))
	}
	return nil
}
