package simulator_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

var office = i2csim.Constant{
	Temperature: physic.ZeroCelsius + 21*physic.Celsius, Humidity: 40 * physic.PercentRH, Pressure: 101325 * physic.Pascal,
}

func options(dir string) simulator.Options {
	return simulator.Options{
		Devices: 3, Places: 2, Prefix: "office", Interval: 50 * time.Millisecond, Seed: 1, Dir: dir,
		Source: func(int) (i2csim.Source, error) { return office, nil },
		MQTT:   simulator.MQTT{URL: "tcp://127.0.0.1:1"}, // nothing listens there
		Logger: slog.New(slog.DiscardHandler),
	}
}

// TestAFleetSamplesWithoutABroker runs a fleet twice on one folder: the
// sequence numbers go on where they were, each sensor's without a gap.
func TestAFleetSamplesWithoutABroker(t *testing.T) {
	var mu sync.Mutex
	sampled := make(map[string][]telemetry.Frame)
	dir := t.TempDir()
	for run := 1; run <= 2; run++ {
		o := options(dir)
		o.Observe = func(f *telemetry.Frame) {
			mu.Lock()
			defer mu.Unlock()
			sampled[f.ID] = append(sampled[f.ID], *f)
		}
		fleet, err := simulator.New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- fleet.Run(ctx) }()
		await.True(t, 30*time.Second, "3 more readings of each device", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(sampled["office-1"]) >= 3*run && len(sampled["office-2"]) >= 3*run && len(sampled["office-3"]) >= 3*run
		})
		fleet.StopSampling()
		mu.Lock()
		total := len(sampled["office-1"]) + len(sampled["office-2"]) + len(sampled["office-3"])
		mu.Unlock()
		if s := fleet.Stats(); s.Buffered != uint64(total) {
			t.Errorf("run %d: %d readings in the buffers, %d were sampled and none was sent", run, s.Buffered, total)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	places := map[string]string{"office-1": "room-1", "office-2": "room-2", "office-3": "room-1"}
	for id, frames := range sampled {
		for i, f := range frames {
			temperature, ok := f.Payload.Get(telemetry.Temperature)
			// A machine that is busy has a chip time out, which is not the point here.
			right := ok && temperature >= 20_900_000 && temperature <= 21_100_000 || f.Faults[telemetry.Temperature] == "timeout"
			if f.Seq != uint64(i) || f.Epoch != frames[0].Epoch || f.PlaceID != places[id] || !right {
				t.Fatalf("reading %d of %s is %+v", i, id, f)
			}
		}
	}
}

func TestDevicesHaveTheirOwnFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"office-1", "office-2", "office-3"} {
		if err := os.WriteFile(filepath.Join(dir, name+".pw"), []byte("secret of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := options(dir)
	o.MQTT.PasswordFile = filepath.Join(dir, "{device}.pw")
	if _, err := simulator.New(o); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, "office-2", "agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "office-2.pw"); !strings.Contains(string(config), want) || strings.Contains(string(config), "secret of") {
		t.Errorf("the configuration does not name %s, or holds the secret:\n%s", want, config)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	broken := errors.New("no recording")
	for name, spoil := range map[string]func(*simulator.Options){
		"devices":  func(o *simulator.Options) { o.Devices = -1 },
		"places":   func(o *simulator.Options) { o.Places = 0 },
		"interval": func(o *simulator.Options) { o.Interval = 0 },
		"prefix":   func(o *simulator.Options) { o.Prefix = "a/b" },
		"empty":    func(o *simulator.Options) { o.Prefix = "" },
		"source":   func(o *simulator.Options) { o.Source = func(int) (i2csim.Source, error) { return nil, broken } },
		"folder":   func(o *simulator.Options) { o.Dir = "/dev/null" },
		"password": func(o *simulator.Options) { o.MQTT.PasswordFile = "/nonexistent/{device}" },
	} {
		o := options(t.TempDir())
		spoil(&o)
		_, err := simulator.New(o)
		if err == nil {
			t.Errorf("%s: New takes it", name)
		}
		if name == "source" && !errors.Is(err, broken) {
			t.Errorf("the source's error is lost: %v", err)
		}
		if name == "folder" && !errors.As(err, new(*fs.PathError)) {
			t.Errorf("the folder's error is lost: %v", err)
		}
	}
}
