package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// senseFunc is a sample.Chip.
type senseFunc func(context.Context, *sample.Reading) error

func (f senseFunc) Sense(ctx context.Context, r *sample.Reading) error { return f(ctx, r) }

// times notes when each sensor's readings were taken.
type times struct {
	start time.Time
	set   *metrics.Set
	mu    sync.Mutex
	at    map[string][]time.Duration
}

func newTimes() *times {
	return &times{start: time.Now(), set: metrics.NewSet(), at: make(map[string][]time.Duration)}
}

func (ts *times) sensor(t *testing.T, id string, interval time.Duration, sense senseFunc) *sensor {
	t.Helper()
	sampler, err := sample.New(sample.Options{
		Sensors: []sample.Sensor{{ID: id, Interval: interval, Sources: []sample.Source{
			{Name: id, Measures: []telemetry.Measure{telemetry.Temperature}, Chip: sense},
		}}},
		Append: func(f *telemetry.Frame, _ clock.Instant) error {
			ts.mu.Lock()
			defer ts.mu.Unlock()
			ts.at[f.ID] = append(ts.at[f.ID], time.Since(ts.start))
			return nil
		},
		Refusal: refusal,
		Now:     clock.New(clock.Host()).Now,
		Logger:  slog.New(slog.DiscardHandler),
		Metrics: ts.set,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &sensor{config: config.Sensor{ID: id, Interval: interval}, sampler: sampler}
}

func warm(_ context.Context, r *sample.Reading) error {
	r.Values.Set(telemetry.Temperature, 1)
	return nil
}

func TestSensorsThatStayKeepTheirSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTimes()
		release := make(chan struct{})
		hung := func(context.Context, *sample.Reading) error { <-release; return nil }
		stays := ts.sensor(t, "stays", time.Second, warm)
		slow := ts.sensor(t, "changes", 2*time.Second, warm)
		stuck := ts.sensor(t, "hangs", 2*time.Second, hung)

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var s sampling
		s.change(ctx, []*sensor{stays, slow, stuck})
		<-time.After(2500 * time.Millisecond)
		if got := s.find(&config.Sensor{ID: "stays", Interval: time.Second}); got != stays {
			t.Errorf("find returns %v, want the sensor that has these settings", got)
		}
		if got := s.find(&config.Sensor{ID: "changes", Interval: time.Second}); got != nil {
			t.Errorf("find returns %v, want none with other settings", got)
		}
		// The chip that hangs makes the change wait, not the sensor that stays.
		fast := ts.sensor(t, "changes", 500*time.Millisecond, warm)
		s.change(ctx, []*sensor{stays, fast})
		if waited := time.Since(ts.start) - 2500*time.Millisecond; waited != sample.MaxWait {
			t.Errorf("change took %v, want %v", waited, sample.MaxWait)
		}
		<-time.After(1250 * time.Millisecond)
		st := s.stats()
		s.stop()
		s.change(ctx, []*sensor{ts.sensor(t, "late", time.Second, warm)})
		<-time.After(time.Minute)
		close(release)

		want := map[string][]time.Duration{
			"stays":   {0, 1e9, 2e9, 3e9, 4e9, 5e9},
			"changes": {0, 2e9, 4.5e9, 5e9, 5.5e9},
			"hangs":   {1.5e9, 2e9}, // late by 3/4 of its interval, then busy
		}
		if diff := cmp.Diff(want, ts.at); diff != "" {
			t.Errorf("sampled at (-want +got):\n%s", diff)
		}
		if st.Sampled != 13 || st.Missed != 0 || len(st.Faults) != 0 {
			t.Errorf("stats %+v, want 13 sampled, none missed, no fault of the sensor that went", st)
		}
	})
}

func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTimes()
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := &Agent{progress: newProgress()}
		a.opts.Config.Buffer.CommitInterval = 5 * time.Second
		expect := func(want string) {
			t.Helper()
			if got := a.Stalled(); got != want {
				t.Errorf("after %v Stalled() is %q, want %q", time.Since(ts.start), got, want)
			}
			if err := a.health(); (err == nil) != (want == "") || err != nil && err.Error() != "hangs: "+want {
				t.Errorf("after %v /healthz is to say %v, want %q", time.Since(ts.start), err, want)
			}
		}
		<-time.After(time.Hour)
		expect("") // nothing has begun

		a.progress.committing()
		a.sampling.change(ctx, []*sensor{
			ts.sensor(t, "chip hangs", time.Second, func(context.Context, *sample.Reading) error { <-release; return nil }),
			ts.sensor(t, "rare", 24*time.Hour, warm),
		})
		<-time.After(25 * time.Second)
		expect("") // a chip that hangs is a fault
		<-time.After(time.Second)
		expect("commit of the buffer")
		a.progress.committing()
		expect("")
		a.progress.ended()
		<-time.After(48 * time.Hour)
		expect("")
		close(release)
		a.sampling.stop()
	})
}
