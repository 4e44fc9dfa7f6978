package e2e

import (
	"context"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/door"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

const (
	fleetInterval = 500 * time.Millisecond // between two readings of a device
	fleetRate     = 4                      // uplink.max_drain_rate
	fleetBatch    = 5                      // uplink.batch_frames
	fleetSlack    = 4 * time.Second        // how late a message may be on a busy machine
	fleetOutage   = 2 * time.Second        // of the broker; a long one would spread the fleet by itself
	fleetWindow   = 8 * time.Second        // over which agents come back: 16 times uplink.backoff_min
)

// arrival is a message of frames.
type arrival struct {
	at     time.Time
	frames int
}

// fleetBroker is a broker that can be restarted, and behind it what receipts all
// frames. It notes when clients connect and what arrives.
type fleetBroker struct {
	mochi.HookBase
	t    *testing.T
	addr string
	stop func()

	mu       sync.Mutex
	connects []time.Time
	arrivals map[string][]arrival       // by sensor
	frames   map[string]map[uint64]bool // sequence numbers, by sensor
}

func (b *fleetBroker) ID() string { return "fleet" }

func (b *fleetBroker) Provides(hook byte) bool {
	return hook == mochi.OnConnectAuthenticate || hook == mochi.OnACLCheck
}

func (b *fleetBroker) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connects = append(b.connects, time.Now())
	return true
}

func (b *fleetBroker) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// start starts a broker that knows nothing, at the address of the one before.
func (b *fleetBroker) start() {
	b.t.Helper()
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	server := mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	must(server.AddHook(b, nil))
	entrance := door.Listen(b.t, b.addr)
	must(server.AddListener(listeners.NewNet("fleet", entrance)))
	must(server.Serve())
	b.addr = entrance.Addr().String()
	messages := make(chan packets.Packet, 100*fleetDevices)
	must(server.Subscribe("telltale/v1/+/frames", 1, func(_ *mochi.Client, _ packets.Subscription, p packets.Packet) { messages <- p }))
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case p := <-messages:
				topic, receipt := b.take(p)
				_ = server.Publish(topic, receipt, false, 0)
			case <-done:
				return
			}
		}
	})
	b.stop = sync.OnceFunc(func() {
		entrance.Shut()
		_ = server.Close()
		close(done)
		running.Wait()
	})
	b.t.Cleanup(b.stop)
}

// take notes what is in a message, and returns its receipt.
func (b *fleetBroker) take(p packets.Packet) (topic string, payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	device, _, _ := telemetry.ParseTopic(p.TopicName)
	var d telemetry.Decoder
	var receipt telemetry.Receipt
	n := 0
	err := d.Each(p.Payload, func(_ []byte, f *telemetry.Frame, err error) {
		if err != nil || f.IsLoss() {
			b.t.Errorf("%s: frame %+v, %v", device, f, err)
			return
		}
		if b.frames[f.ID] == nil {
			b.frames[f.ID] = map[uint64]bool{}
		}
		b.frames[f.ID][f.Seq] = true
		n++
		receipt.Add(f.ID, f.Epoch, telemetry.SeqRange{First: f.Seq, Last: f.Seq})
	})
	if err != nil {
		b.t.Errorf("%s: %v", device, err)
	}
	b.arrivals[device] = append(b.arrivals[device], arrival{time.Now(), n})
	return telemetry.Topic(device, telemetry.Receipts), telemetry.AppendReceipt(nil, &receipt)
}

func (b *fleetBroker) connected() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.connects)
}

// most returns how many of the sorted times are in one window at most.
func most(times []time.Time, window time.Duration) (n int) {
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= window {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

// excess returns by how many frames an interval exceeds the rate at most.
func excess(arrivals []arrival, rate float64) (worst float64) {
	level := 0.0
	for i, a := range arrivals {
		if i > 0 {
			level = max(0, level-rate*a.at.Sub(arrivals[i-1].at).Seconds())
		}
		level += float64(a.frames)
		worst = max(worst, level)
	}
	return worst
}

// TestFleetReturns runs many real agents whose broker goes away and comes back
// without memory. They come back spread over time, none sends faster than
// uplink.max_drain_rate, though each has more to send, and every reading that was
// taken arrives.
func TestFleetReturns(t *testing.T) {
	b := &fleetBroker{t: t, addr: "127.0.0.1:0", arrivals: map[string][]arrival{}, frames: map[string]map[uint64]bool{}}
	b.start()
	var mu sync.Mutex
	sampled := map[string]uint64{} // the number of readings, by sensor
	fleet, err := simulator.New(simulator.Options{
		Devices: fleetDevices, Places: 10, Prefix: "fleet", Interval: fleetInterval, Seed: 1, Dir: t.TempDir(),
		Source: func(int) (i2csim.Source, error) {
			return i2csim.Constant{Temperature: physic.ZeroCelsius + 21*physic.Celsius, Humidity: 40 * physic.PercentRH, Pressure: 101325 * physic.Pascal}, nil
		},
		MQTT:   simulator.MQTT{URL: "tcp://" + b.addr},
		Buffer: map[string]any{"segment_size": "64KiB", "max_size": "1MiB", "commit_interval": "30s"},
		Uplink: map[string]any{
			"max_drain_rate": fleetRate, "batch_frames": fleetBatch,
			"backoff_min": (fleetWindow / 16).String(), "backoff_max": (2 * fleetWindow).String(),
		},
		Observe: func(f *telemetry.Frame) {
			mu.Lock()
			defer mu.Unlock()
			sampled[f.ID] = max(sampled[f.ID], f.Seq+1)
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	began := time.Now()
	await.True(t, time.Minute, "all agents connected, and their readings received", func() bool {
		return b.connected() >= fleetDevices && fleet.Stats().Sampled > 5*fleetDevices && fleet.Stats().Buffered < 3*fleetDevices
	})
	t.Logf("%d agents are at work after %v", fleetDevices, time.Since(began).Round(time.Millisecond))

	b.stop()
	b.mu.Lock()
	b.connects, b.arrivals = nil, map[string][]arrival{}
	b.mu.Unlock()
	<-time.After(fleetOutage)
	b.start()
	back := time.Now()
	await.True(t, time.Minute, "all agents connected again", func() bool { return b.connected() >= fleetDevices })
	t.Logf("the last is back after %v; %d goroutines", time.Since(back).Round(time.Millisecond), runtime.NumGoroutine())
	await.True(t, time.Minute, "the backlog sent", func() bool { return fleet.Stats().Buffered < 4*fleetDevices })
	fleet.StopSampling()
	await.True(t, time.Minute, "all receipted", func() bool { return fleet.Stats().Buffered == 0 })
	t.Logf("all is sent after %v, %s", time.Since(back).Round(time.Millisecond), memory(t))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b.stop()

	for id, n := range sampled {
		for seq := range n {
			if !b.frames[id][seq] {
				t.Errorf("reading %d of %s did not arrive", seq, id)
			}
		}
	}
	if len(sampled) != fleetDevices {
		t.Errorf("%d sensors were sampled, want %d", len(sampled), fleetDevices)
	}
	checkSpread(t, b.connects)
	checkRate(t, b.arrivals)
}

// checkSpread holds that agents do not come back at once. Spread evenly over
// fleetWindow, a second has an eighth of them; chance and a busy machine may make
// that two fifths. A random share of backoff_min would bring half of them.
func checkSpread(t *testing.T, connects []time.Time) {
	t.Helper()
	slices.SortFunc(connects, time.Time.Compare)
	second, tenth := most(connects, time.Second), most(connects, 100*time.Millisecond)
	t.Logf("most connections in a second %d, in 100 ms %d, of %d", second, tenth, fleetDevices)
	if second > 2*fleetDevices/5 {
		t.Errorf("%d of %d agents came back in one second, want at most two fifths", second, fleetDevices)
	}
}

// checkRate holds each device to its rate, and so the fleet to the sum.
func checkRate(t *testing.T, arrivals map[string][]arrival) {
	t.Helper()
	allowed := fleetBatch + fleetRate*fleetSlack.Seconds()
	bound := 0
	worst := 0.0
	var all []time.Time
	for device, of := range arrivals {
		e := excess(of, fleetRate)
		if worst = max(worst, e); e > allowed {
			t.Errorf("%s sent %.1f frames beyond its rate, want at most %.0f", device, e, allowed)
		}
		if excess(of, fleetRate-1) > fleetBatch { // the rate is what it sent at for a while
			bound++
		}
		for _, a := range of {
			for range a.frames {
				all = append(all, a.at)
			}
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	t.Logf("most frames in a second %d; most beyond a device's rate %.1f; the rate held %d devices back", most(all, time.Second), worst, bound)
	if bound < fleetDevices/2 {
		t.Errorf("the rate held %d of %d devices back, want half: the test shows too little", bound, fleetDevices)
	}
}

// memory returns the most that this process has occupied; see proc_pid_status(5).
func memory(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown memory"
	}
	return string(regexp.MustCompile(`VmHWM:\s*\d+ kB`).Find(status))
}
