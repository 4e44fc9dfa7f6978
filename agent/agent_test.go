package agent_test

import (
	"bytes"
	order "cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/door"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// patience bounds how long a test waits for what must come.
const patience = time.Minute

// record keeps frames by their identity.
type record struct {
	mu     sync.Mutex
	frames map[string]telemetry.Frame
	double map[string]int // how often each came again
	two    []string       // those that came again as another reading
}

func newRecord() *record {
	return &record{frames: make(map[string]telemetry.Frame), double: make(map[string]int)}
}

func (r *record) add(f *telemetry.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := telemetry.FrameID(f)
	if before, ok := r.frames[id]; ok {
		r.double[id]++
		if before != *f {
			r.two = append(r.two, id)
		}
		return
	}
	r.frames[id] = *f
}

func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.frames)
}

func (r *record) all() []telemetry.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	var frames []telemetry.Frame
	for _, f := range r.frames {
		frames = append(frames, f)
	}
	slices.SortFunc(frames, func(a, b telemetry.Frame) int {
		return order.Or(strings.Compare(a.ID, b.ID), order.Compare(a.Epoch, b.Epoch), order.Compare(a.Seq, b.Seq))
	})
	return frames
}

// ingest is a broker, and behind it what receives frames and receipts them.
type ingest struct {
	*record
	server *mochi.Server
	addr   string
	status chan string
	stop   func()
}

func startIngest(t *testing.T, addr string, r *record) *ingest {
	t.Helper()
	in := &ingest{
		record: r,
		server: mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)}),
		status: make(chan string, 1000),
	}
	must(t, in.server.AddHook(new(auth.AllowHook), nil))
	entrance := door.Listen(t, addr)
	must(t, in.server.AddListener(listeners.NewNet("test", entrance)))
	must(t, in.server.Serve())
	in.addr = entrance.Addr().String()
	batches := make(chan []byte, 1000)
	must(t, in.server.Subscribe("telltale/v1/dev/frames", 1, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) { batches <- pk.Payload }))
	must(t, in.server.Subscribe("telltale/v1/dev/status", 2, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) { in.status <- string(pk.Payload) }))
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case batch := <-batches:
				in.take(t, batch)
			case <-done:
				return
			}
		}
	})
	in.stop = sync.OnceFunc(func() {
		entrance.Shut()
		_ = in.server.Close()
		close(done)
		running.Wait()
	})
	t.Cleanup(in.stop)
	return in
}

func (in *ingest) take(t *testing.T, batch []byte) {
	var d telemetry.Decoder
	var receipt telemetry.Receipt
	err := d.Each(batch, func(_ []byte, f *telemetry.Frame, err error) {
		if err != nil {
			t.Errorf("frame: %v", err)
			return
		}
		in.add(f)
		receipt.Add(f.ID, f.Epoch, telemetry.SeqRange{First: f.Seq, Last: f.Seq})
	})
	if err != nil {
		t.Errorf("batch: %v", err)
	}
	_ = in.server.Publish("telltale/v1/dev/receipts", telemetry.AppendReceipt(nil, &receipt), false, 0)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// newBus returns a bus with a BME280 and a BH1750.
func newBus(t *testing.T) *i2csim.Bus {
	t.Helper()
	air := i2csim.Constant{
		Temperature: physic.ZeroCelsius + 21370*physic.MilliCelsius,
		Humidity:    44 * physic.PercentRH,
		Pressure:    101325 * physic.Pascal,
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	bme280, err := i2csim.NewBME280(i2csim.BME280Options{Source: air, Seed: 1})
	must(t, err)
	bh1750, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: air})
	must(t, err)
	must(t, bus.Attach(0x76, bme280))
	must(t, bus.Attach(0x23, bh1750))
	return bus
}

// A chip has three quarters of the interval to answer in, also on a busy machine.
const document = `
device: dev
mqtt: {url: "tcp://ADDR"}
buffer: {dir: "DIR", max_size: 4MiB, segment_size: 64KiB, commit_interval: 100ms}
uplink: {batch_age: 20ms, receipt_timeout: 500ms, backoff_min: 10ms, backoff_max: 100ms}
metrics: {listen: "127.0.0.1:0"}
clock: {trust: always}
sensors:
  - id: dev
    name: Device
    place_id: here
    interval: 250ms
    chips:
      - {driver: bme280, address: 0x76}
      - {driver: bh1750, address: 0x23, mode: low}
  - id: dev.second
    interval: 250ms
    chips:
      - {driver: bmp280, address: 0x77}
`

// running is an agent whose Run is on.
type running struct {
	*agent.Agent
	stop   func() // ends Run and waits for it
	broken bool   // its disk is, so that Run may say so
}

func run(t *testing.T, addr, dir string, bus *i2csim.Bus, observe func(*telemetry.Frame)) *running {
	t.Helper()
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.NewReplacer("ADDR", addr, "DIR", dir).Replace(document)))
	must(t, err)
	return start(t, agent.Options{
		Config:  config,
		OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil },
		Observe: observe,
		Metrics: metrics.NewSet(),
		Version: "v1",
	})
}

// start runs an agent until the test ends or stop is called.
func start(t *testing.T, o agent.Options) *running {
	t.Helper()
	a, err := agent.New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	r := &running{Agent: a}
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && !r.broken {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(r.stop)
	return r
}

// drained stops sampling and waits until all that was sampled is freed.
func (r *running) drained(t *testing.T) {
	t.Helper()
	r.StopSampling()
	eventually(t, "the buffer is empty", func() bool { return r.Stats().Buffered == 0 })
}

// wantSame compares what arrived with what was sampled, value by value.
func wantSame(t *testing.T, sampled, received *record) {
	t.Helper()
	if diff := cmp.Diff(sampled.all(), received.all(), cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
		t.Errorf("sampled and received differ (-sampled +received):\n%s", diff)
	}
	if len(received.two) > 0 {
		t.Errorf("one number for two readings: %v", received.two)
	}
	next := make(map[string]uint64)
	for _, f := range received.all() {
		if f.Seq != next[f.ID] {
			t.Errorf("%s: sequence number %d, want %d", f.ID, f.Seq, next[f.ID])
		}
		next[f.ID] = f.Seq + 1
	}
}

func TestEveryReadingArrives(t *testing.T) {
	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	a := run(t, in.addr, t.TempDir(), newBus(t), sampled.add)
	eventually(t, "20 readings", func() bool { return received.len() >= 20 })
	a.drained(t)
	wantSame(t, sampled, received)
	select {
	case <-a.Ready():
	default:
		t.Error("not ready with readings in the buffer")
	}

	reading := received.all()[0]
	for m, want := range map[telemetry.Measure]float64{
		telemetry.Temperature: 21.37, telemetry.Humidity: 44, telemetry.Pressure: 1013.25, telemetry.Luminosity: 0,
	} {
		v, ok := reading.Payload.Get(m)
		if off := v.Float() - want; !ok || off < -0.1 || off > 0.1 {
			t.Errorf("%v is %v (%v), want %v", m, v, ok, want)
		}
	}
	for _, f := range received.all() {
		if f.ID != "dev.second" {
			continue
		}
		if want := (telemetry.Faults{telemetry.Temperature: "nack", telemetry.Pressure: "nack"}); f.Faults != want || !f.Payload.Empty() {
			t.Fatalf("a chip that is not there reads %+v with faults %q, want none with %q", f.Payload, f.Faults, want)
		}
	}
	st := a.Stats()
	if st.Sampled != uint64(sampled.len()) || !st.Connected || st.Refused != 0 || len(st.Losses) != 0 {
		t.Errorf("stats %+v, want %d sampled, connected, none refused or lost", st, sampled.len())
	}
	if diff := cmp.Diff(map[string]string{"bmp280@1:0x77": "nack"}, st.Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}

	a.stop()
	var last string
	for len(in.status) > 0 {
		last = <-in.status
	}
	if !strings.HasPrefix(last, `{"state":"offline","reason":"shutdown","version":"v1",`) || !strings.Contains(last, `"faults":{"bmp280@1:0x77":"nack"}`) {
		t.Errorf("last status %s", last)
	}
}

// TestCalibratedReadingArrives has the values of a calibrated chip arrive beside what
// it measured, through the buffer, and the status say when it was calibrated.
func TestCalibratedReadingArrives(t *testing.T) {
	received := newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.NewReplacer("ADDR", in.addr, "DIR", t.TempDir(),
		"{driver: bme280, address: 0x76}", `{driver: bme280, address: 0x76, self_heating: 2, calibration: [
		  {measure: pressure, date: 2026-11-26, offset: -1.5}, {measure: temperature, date: 2025-02-03, offset: 0}]}`).Replace(document)))
	must(t, err)
	bus := newBus(t)
	a := start(t, agent.Options{Config: config, OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil }, Metrics: metrics.NewSet(), Version: "v1"})
	eventually(t, "5 readings", func() bool { return received.len() >= 5 })
	a.stop()
	for _, f := range received.all() {
		if f.ID != "dev" {
			continue
		}
		for m, want := range map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: -2_000_000, telemetry.Pressure: -1_500_000} {
			v, _ := f.Payload.Get(m)
			if raw, ok := f.Raw.Get(m); !ok || v-raw != want {
				t.Errorf("%v is %v, raw %v; want %v between them", m, v, raw, want)
			}
		}
		// At 21.37 °C the chip has 44 %; at 19.37 °C the same vapour is 49.8 %.
		humidity, _ := f.Payload.Get(telemetry.Humidity)
		if raw, ok := f.Raw.Get(telemetry.Humidity); !ok || humidity < 49_600_000 || humidity > 50_000_000 || raw < 43_900_000 || raw > 44_100_000 {
			t.Errorf("humidity is %v, raw %v", humidity, raw)
		}
		if raw, ok := f.Raw.Get(telemetry.Luminosity); ok {
			t.Errorf("luminosity has the raw value %v", raw)
		}
	}
	if first := <-in.status; !strings.Contains(first, `"calibrated":{"bme280@1:0x76":"2025-02-03"}`) {
		t.Errorf("status %s", first)
	}
}

func TestBrokerRestarts(t *testing.T) {
	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	a := run(t, in.addr, t.TempDir(), newBus(t), sampled.add)
	for range 3 {
		n := received.len()
		eventually(t, "10 readings more", func() bool { return received.len() >= n+10 })
		in.stop()
		eventually(t, "the agent notices", func() bool { return !a.Stats().Connected })
		n = sampled.len()
		eventually(t, "10 more are sampled while the broker is away", func() bool { return sampled.len() >= n+10 })
		in = startIngest(t, in.addr, received)
	}
	a.drained(t)
	wantSame(t, sampled, received)
}

func TestAgentRestarts(t *testing.T) {
	sampled, received := newRecord(), newRecord()
	bus, dir := newBus(t), t.TempDir()
	in := startIngest(t, "127.0.0.1:0", received)
	addr := in.addr
	in.stop()
	for range 3 { // from the first second, without a broker
		a := run(t, addr, dir, bus, sampled.add)
		n := sampled.len()
		eventually(t, "10 readings more", func() bool { return sampled.len() >= n+10 })
		a.stop()
	}
	startIngest(t, addr, received)
	a := run(t, addr, dir, bus, sampled.add)
	eventually(t, "the first reading arrives", func() bool { return received.len() > 0 })
	a.drained(t)
	wantSame(t, sampled, received)
	if st := a.Stats(); len(st.Losses) != 0 {
		t.Errorf("losses %v, want none", st.Losses)
	}
}

func TestSecondAgentOnOneBuffer(t *testing.T) {
	bus, dir := newBus(t), t.TempDir()
	sampled := newRecord()
	run(t, "127.0.0.1:1", dir, bus, sampled.add)
	eventually(t, "a reading", func() bool { return sampled.len() > 0 })
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.NewReplacer("ADDR", "127.0.0.1:1", "DIR", dir).Replace(document)))
	must(t, err)
	second, err := agent.New(agent.Options{Config: config, OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil }})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := second.Run(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("Run: %v, want an error at once", err)
	}
}

func TestBusAway(t *testing.T) {
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.NewReplacer("ADDR", "127.0.0.1:1", "DIR", t.TempDir()).Replace(document)))
	must(t, err)
	sampled := newRecord()
	a, err := agent.New(agent.Options{
		Config:  config,
		OpenBus: func(string) (i2c.BusCloser, error) { return nil, errors.New("no such bus") },
		Observe: sampled.add,
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	eventually(t, "4 readings", func() bool { return sampled.len() >= 4 })
	a.StopSampling()
	select {
	case <-a.Ready():
		t.Error("ready without a value")
	default:
	}
	n := a.Stats().Sampled
	a.StopSampling()
	cancel()
	must(t, <-ended)
	if got := a.Stats().Sampled; got != n {
		t.Errorf("sampled %d, and %d when sampling was stopped", got, n)
	}
	for _, f := range sampled.all() {
		if f.Faults[telemetry.Temperature] != "bus" || f.Faults[telemetry.Pressure] != "bus" || !f.Payload.Empty() {
			t.Errorf("reading %+v, want nothing but faults", f)
		}
	}
}

func TestEndpoint(t *testing.T) {
	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	addr := in.addr
	in.stop()
	a := run(t, addr, t.TempDir(), newBus(t), sampled.add)
	eventually(t, "the endpoint listens", func() bool { return a.MetricsAddr() != "" })
	get := func(path string) (int, string) {
		t.Helper()
		response, err := http.Get("http://" + a.MetricsAddr() + path)
		must(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		must(t, err)
		return response.StatusCode, string(body)
	}
	if code, body := get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || body != "mqtt: not connected\n" {
		t.Errorf("/readyz without a broker: %d %q", code, body)
	}
	startIngest(t, addr, received)
	eventually(t, "readings of both sensors arrive", func() bool { return received.of("dev") > 0 && received.of("dev.second") > 0 })
	if code, body := get("/readyz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/readyz with a broker: %d %q", code, body)
	}

	readme, err := os.ReadFile("README.md")
	must(t, err)
	_, body := get("/metrics")
	name := regexp.MustCompile(`(?m)^telltale_agent_\w+`)
	names := name.FindAllString(body, -1)
	if len(names) < 20 {
		t.Errorf("%d metrics, want at least 20:\n%s", len(names), body)
	}
	for _, n := range slices.Compact(names) {
		if !bytes.Contains(readme, []byte("`"+n+"`")) {
			t.Errorf("README.md does not document %s", n)
		}
	}
	for _, line := range []string{
		`telltale_agent_readings_total{sensor="dev"} `,
		`telltale_agent_chip_faults_total{chip="bmp280@1:0x77",reason="nack"} `,
		`telltale_agent_mqtt_connected 1`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("/metrics lacks %q:\n%s", line, body)
		}
	}
}
