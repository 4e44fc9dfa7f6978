//go:build integration

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// storedFrame is a frame of the topic iot-frames, and when the bridge got it.
type storedFrame struct {
	telemetry.Frame
	at time.Time
}

// frameTopic collects the frames of the topic.
type frameTopic struct {
	mu     sync.Mutex
	frames []storedFrame
}

func (t *frameTopic) all() []storedFrame {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.frames)
}

// followFrames follows the topic, which has one partition, until the test ends.
func followFrames(b *testing.B) *frameTopic {
	b.Helper()
	topic := &frameTopic{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{kafkaAddr}, Topic: "iot-frames", MaxWait: 100 * time.Millisecond})
		defer reader.Close()
		var decoder telemetry.Decoder
		for {
			record, err := reader.ReadMessage(ctx)
			if errors.Is(err, context.Canceled) {
				return
			}
			f := storedFrame{at: record.Time}
			if err == nil {
				err = decoder.Decode(record.Value, &f.Frame)
			}
			if err != nil {
				b.Errorf("following iot-frames: %v", err)
				return
			}
			topic.mu.Lock()
			topic.frames = append(topic.frames, f)
			topic.mu.Unlock()
		}
	}()
	return topic
}

// contestant is an agent whose readings are accounted for.
type contestant struct {
	name    string
	process *supervisor

	// sampled returns the readings that were sampled, by what tells them apart.
	sampled func() map[string]sampledReading

	// reading tells which of them a stored frame is, if it is this agent's.
	reading func(f *telemetry.Frame) (key string, ok bool)

	// earlyNote says that a reading is noted as sampled before the agent has it, so
	// that the last one before a kill may never have got there.
	earlyNote bool
}

type sampledReading struct {
	at    time.Time
	frame *telemetry.Frame // that it must be stored as, if that is known
}

// moments are those of an outage.
type moments struct{ begin, killed, back, end time.Time }

// account is what became of the readings between begin and end.
type account struct {
	ticks     int           // times at which a reading was due
	sampled   int           // readings
	gap       int           // ticks without a reading from the kill to the first one after it
	missed    int           // other ticks without a reading
	lost      int           // readings sampled that are not stored
	doubled   int           // readings stored under more than one identity
	different int           // readings stored with another content than they were sampled with
	unknown   int           // readings stored that were not noted as sampled
	records   int           // of these readings
	redundant int           // of those, of identities that were there before
	backlog   time.Duration // from the broker's return until all that was sampled before was stored
}

// account counts what became of the readings, as of the frames given.
func (c *contestant) account(frames []storedFrame, m moments) (a account) {
	sampled := c.sampled()
	stored := make(map[string][]storedFrame)
	for _, f := range frames {
		if key, ok := c.reading(&f.Frame); ok {
			stored[key] = append(stored[key], f)
			if _, known := sampled[key]; !known {
				a.unknown++
				sampled[key] = sampledReading{at: time.UnixMilli(f.Timestamp)}
			}
		}
	}
	maps.DeleteFunc(sampled, func(_ string, r sampledReading) bool { return r.at.Before(m.begin) || !r.at.Before(m.end) })
	if last, ok := lastBefore(sampled, m.killed); ok && c.earlyNote && len(stored[last]) == 0 {
		delete(sampled, last)
	}
	a.sampled = len(sampled)
	for key, r := range sampled {
		records := stored[key]
		a.records += len(records)
		if len(records) == 0 {
			a.lost++
			continue
		}
		identities := make(map[string]bool)
		for _, f := range records {
			identities[telemetry.FrameID(&f.Frame)] = true
			if r.frame != nil && f.Frame != *r.frame {
				a.different++
			}
		}
		a.redundant += len(records) - len(identities)
		if len(identities) > 1 {
			a.doubled++
		}
		if r.at.Before(m.back) {
			a.backlog = max(a.backlog, records[0].at.Sub(m.back))
		}
	}
	a.schedule(sampled, m)
	return a
}

// lastBefore returns the last reading before t.
func lastBefore(sampled map[string]sampledReading, t time.Time) (last string, ok bool) {
	for key, r := range sampled {
		if r.at.Before(t) && (!ok || r.at.After(sampled[last].at)) {
			last, ok = key, true
		}
	}
	return last, ok
}

// schedule counts the ticks. An agent's schedule begins anew with its process.
func (a *account) schedule(sampled map[string]sampledReading, m moments) {
	var times []time.Time
	for _, r := range sampled {
		times = append(times, r.at)
	}
	slices.SortFunc(times, time.Time.Compare)
	if len(times) == 0 {
		return
	}
	ticks := func(from, to time.Time) int { return int(to.Sub(from).Round(outageInterval) / outageInterval) }
	times = append(times, m.end.Add(outageInterval/2)) // when one more would be due at the latest
	a.ticks = ticks(times[0], times[len(times)-1])
	restarted, _ := slices.BinarySearchFunc(times, m.killed, time.Time.Compare)
	if restarted > 0 {
		a.gap = ticks(times[restarted-1], times[restarted]) - 1
	}
	a.missed = a.ticks - a.gap - a.sampled
}

// ourContestant starts our agent with a BME280, emulated in its process, and a
// journal.
func ourContestant(b *testing.B, binary string) *contestant {
	b.Helper()
	config := agentConfig(b, outageInterval, `[{driver: bme280, bus: "1", address: 0x76}]`)
	journal := filepath.Join(b.TempDir(), "journal")
	return &contestant{
		name:    "telltale-agent",
		process: supervise(b, binary, config, journal),
		sampled: func() map[string]sampledReading { return readJournal(b, journal) },
		reading: func(f *telemetry.Frame) (string, bool) { return momentOf(f), f.ID == device },
	}
}

// momentOf tells the readings of one sensor apart without regard to their
// identity, for two that are one.
func momentOf(f *telemetry.Frame) string { return strconv.FormatInt(f.Timestamp, 10) }

// readJournal returns the readings of an emulated agent's journal.
func readJournal(b *testing.B, file string) map[string]sampledReading {
	b.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	sampled := make(map[string]sampledReading)
	var decoder telemetry.Decoder
	for line := range bytes.Lines(data) {
		var f telemetry.Frame
		// A kill may have cut a line short, with the next one behind it.
		if err := decoder.Decode(line, &f); err == nil {
			sampled[momentOf(&f)] = sampledReading{at: time.UnixMilli(f.Timestamp), frame: &f}
		}
	}
	return sampled
}

// telegrafContestant starts a Telegraf that samples a counter, which is served
// by HTTP so that it is known what was sampled, and publishes it in the form that
// the bridge takes from any client.
func telegrafContestant(b *testing.B, binary, version string) *contestant {
	b.Helper()
	const id = "telegraf"
	var mu sync.Mutex
	served := make(map[string]sampledReading)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n := strconv.Itoa(len(served) + 1)
		served[n] = sampledReading{at: time.Now()}
		_, _ = fmt.Fprint(w, n)
	}))
	b.Cleanup(server.Close)
	config := telegrafConfig(b, outageInterval, fmt.Sprintf(`
[[inputs.http]]
  urls = [%q]
  data_format = "value"
  data_type = "integer"
`, server.URL), fmt.Sprintf(`
  topic = %q
  json_transformation = '{"id": %q, "timestamp": timestamp, "payload": {"luminosity": fields.value}}'
`, telemetry.SeedTopic, id))
	return &contestant{
		name:    version,
		process: supervise(b, binary, "--config", config),
		sampled: func() map[string]sampledReading {
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(served)
		},
		reading: func(f *telemetry.Frame) (string, bool) {
			n, _ := f.Payload.Get(telemetry.Luminosity)
			return strconv.FormatInt(int64(n)/1e6, 10), f.ID == id
		},
		earlyNote: true,
	}
}
