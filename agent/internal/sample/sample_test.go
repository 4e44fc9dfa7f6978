package sample

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// senseFunc is a Chip.
type senseFunc func(ctx context.Context, r *Reading) error

func (f senseFunc) Sense(ctx context.Context, r *Reading) error { return f(ctx, r) }

// steady returns a Chip that takes the time d and measures v of m.
func steady(m telemetry.Measure, v telemetry.Micro, d time.Duration) Chip {
	return senseFunc(func(_ context.Context, r *Reading) error {
		<-time.After(d) // fake time: every test that uses it runs in a bubble
		r.Values.Set(m, v)
		return nil
	})
}

// record is an Append that keeps copies.
type record struct {
	mu     sync.Mutex
	frames []telemetry.Frame
}

func (r *record) append(f *telemetry.Frame, _ clock.Instant) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames = append(r.frames, *f)
	return nil
}

func (r *record) of(id string) (frames []telemetry.Frame) {
	for _, f := range r.frames {
		if f.ID == id {
			frames = append(frames, f)
		}
	}
	return frames
}

func wallClock() clock.Instant { return clock.Instant{Time: time.Now(), Known: true} }

func newSampler(t *testing.T, o Options) *Sampler {
	t.Helper()
	if o.Refusal == nil {
		o.Refusal = func(error) string { return "io" }
	}
	if o.Now == nil {
		o.Now = wallClock
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runFor runs s for d of fake time.
func runFor(t *testing.T, s *Sampler, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

func thermometer(id string, interval time.Duration, chip Chip) Sensor {
	return Sensor{ID: id, Interval: interval, Sources: []Source{
		{Name: id + "/t", Measures: []telemetry.Measure{telemetry.Temperature}, Chip: chip},
	}}
}

func TestScheduleDoesNotDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		const day = 24 * time.Hour
		next, drift := int64(0), time.Duration(0)
		s := newSampler(t, Options{
			Sensors: []Sensor{thermometer("a", time.Second, steady(telemetry.Temperature, 1, 137*time.Millisecond))},
			Append: func(f *telemetry.Frame, _ clock.Instant) error {
				if want := start.UnixMilli() + 1000*next; f.Timestamp != want {
					drift = max(drift, time.Duration(f.Timestamp-want)*time.Millisecond)
				}
				next++
				return nil
			},
		})
		runFor(t, s, day)
		if drift != 0 || next != int64(day/time.Second) {
			t.Errorf("%d readings, off by up to %v; want %d, none off", next, drift, day/time.Second)
		}
		if st := s.Stats(); st.Missed != 0 || st.Sampled != uint64(next) {
			t.Errorf("stats %+v, want none missed of %d", st, next)
		}
	})
}

func TestMissedTicksAreCountedNotCaughtUpWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		s := newSampler(t, Options{
			Sensors: []Sensor{thermometer("a", time.Second, steady(telemetry.Temperature, 1, 0))},
			Append: func(f *telemetry.Frame, _ clock.Instant) error {
				at = append(at, time.UnixMilli(f.Timestamp).Sub(start))
				if len(at) == 3 {
					<-time.After(3500 * time.Millisecond) // a disk that stalls
				}
				return nil
			},
		})
		runFor(t, s, 8500*time.Millisecond)
		want := []time.Duration{0, 1e9, 2e9, 6e9, 7e9, 8e9}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("sampled at (-want +got):\n%s", diff)
		}
		if st := s.Stats(); st.Missed != 3 {
			t.Errorf("missed %d, want 3", st.Missed)
		}
	})
}

// A disk that does not return stalls the schedule; nothing else does.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		readings := 0
		s := newSampler(t, Options{
			Sensors: []Sensor{thermometer("a", 10*time.Second, steady(telemetry.Temperature, 1, 0)), thermometer("b", time.Second, steady(telemetry.Temperature, 1, 0))},
			Append: func(f *telemetry.Frame, _ clock.Instant) error {
				if f.ID == "a" {
					if readings++; readings == 3 {
						<-release
					}
				}
				return nil
			},
		})
		type state struct {
			at   time.Duration
			want string
		}
		states := []state{{0, ""}, {19 * time.Second, ""}, {31900 * time.Millisecond, ""}, {32100 * time.Millisecond, "a"}, {time.Hour, "a"}, {time.Hour + time.Second, ""}}
		start := time.Now()
		for i, st := range states {
			time.AfterFunc(st.at, func() {
				if i == len(states)-1 {
					close(release)
					synctest.Wait()
					<-time.After(10 * time.Second)
				}
				if got := s.Stalled(); got != st.want {
					t.Errorf("after %v Stalled() is %q, want %q", time.Since(start), got, st.want)
				}
			})
		}
		runFor(t, s, 2*time.Hour)
		if got := s.Stalled(); got != "" {
			t.Errorf("after Run Stalled() is %q, want none", got)
		}
	})
}

func TestHungChipDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		release := make(chan struct{})
		hung := senseFunc(func(_ context.Context, r *Reading) error {
			if time.Since(start) < 2*time.Second { // the readings of ticks 0 and 1 are good
				r.Values.Set(telemetry.Luminosity, 7)
				return nil
			}
			<-release // and then it does not even heed its context, until released
			r.Values.Set(telemetry.Luminosity, 8)
			return nil
		})
		var rec record
		var log bytes.Buffer
		var appended []time.Duration
		s := newSampler(t, Options{
			Sensors: []Sensor{
				{ID: "a", Name: "A", PlaceID: "p", Interval: time.Second, Sources: []Source{
					{Name: "light", Measures: []telemetry.Measure{telemetry.Luminosity}, Chip: hung},
					{Name: "climate", Measures: []telemetry.Measure{telemetry.Temperature}, Chip: steady(telemetry.Temperature, 21e6, 10*time.Millisecond)},
				}},
				thermometer("b", time.Second, steady(telemetry.Temperature, 5, 10*time.Millisecond)),
			},
			Append: func(f *telemetry.Frame, _ clock.Instant) error {
				if f.ID == "b" {
					appended = append(appended, time.Since(start))
				}
				return rec.append(f, clock.Instant{})
			},
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: withoutTime})),
		})
		time.AfterFunc(5300*time.Millisecond, func() { close(release) })
		runFor(t, s, 7500*time.Millisecond)

		reading := func(tick int64, light telemetry.Micro) telemetry.Frame {
			f := telemetry.Frame{ID: "a", Name: "A", PlaceID: "p", Timestamp: start.UnixMilli() + tick*1000}
			f.Payload.Set(telemetry.Temperature, 21e6)
			if light == 0 {
				f.Faults[telemetry.Luminosity] = Timeout
			} else {
				f.Payload.Set(telemetry.Luminosity, light)
			}
			return f
		}
		want := []telemetry.Frame{
			reading(0, 7), reading(1, 7), // good
			reading(2, 0),                               // late
			reading(3, 0), reading(4, 0), reading(5, 0), // busy; what tick 2 asked for comes at 5.3 s and is dropped
			reading(6, 8), reading(7, 8), // good again
		}
		if diff := cmp.Diff(want, rec.of("a"), cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
			t.Errorf("readings of a (-want +got):\n%s", diff)
		}
		for i, at := range appended {
			if want := time.Duration(i)*time.Second + 10*time.Millisecond; at != want {
				t.Errorf("reading %d of b came after %v, want %v", i, at, want)
			}
		}
		wantLog := `level=WARN msg="chip fails" chip=light reason=timeout error="no answer in time"
level=INFO msg="chip recovered" chip=light
`
		if diff := cmp.Diff(wantLog, log.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func TestFailingChipLeavesOutItsMeasuresOnly(t *testing.T) {
	var climate = []telemetry.Measure{telemetry.Temperature, telemetry.Humidity}
	tests := []struct {
		name    string
		sense   senseFunc
		payload map[telemetry.Measure]telemetry.Micro
		faults  telemetry.Faults
		failing string
		raw     map[telemetry.Measure]telemetry.Micro
	}{
		{"nack", func(context.Context, *Reading) error { return fmt.Errorf("bme280: %w", syscall.ENXIO) },
			nil, telemetry.Faults{"nack", "nack"}, "nack", nil},
		{"partly", func(_ context.Context, r *Reading) error {
			r.Values.Set(telemetry.Temperature, 1)
			return &FaultError{OutOfRange, errors.New("humidity")}
		}, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 1}, telemetry.Faults{telemetry.Humidity: "out_of_range"}, "out_of_range", nil},
		{"silently", func(_ context.Context, r *Reading) error {
			r.Values.Set(telemetry.Humidity, 1)
			return nil
		}, map[telemetry.Measure]telemetry.Micro{telemetry.Humidity: 1}, telemetry.Faults{telemetry.Temperature: "not_ready"}, "not_ready", nil},
		{"beyond the wire", func(_ context.Context, r *Reading) error {
			r.Values.Set(telemetry.Temperature, telemetry.MaxMicro)
			r.Values.Set(telemetry.Humidity, -telemetry.MaxMicro-1)
			return nil
		}, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: telemetry.MaxMicro}, telemetry.Faults{telemetry.Humidity: "out_of_range"}, "out_of_range", nil},
		{"a measure that is not its own", func(_ context.Context, r *Reading) error {
			r.Values.Set(telemetry.Temperature, 1)
			r.Values.Set(telemetry.Humidity, 2)
			r.Values.Set(telemetry.Luminosity, 3)
			return nil
		}, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 1, telemetry.Humidity: 2}, telemetry.Faults{}, "", nil},
		{"calibrated, and stuck", func(_ context.Context, r *Reading) error {
			r.Values.Set(telemetry.Temperature, 1)
			r.Raw.Set(telemetry.Temperature, 2)
			r.Raw.Set(telemetry.Humidity, 3)
			return &FaultError{Stuck, errors.New("the same word")}
		}, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 1}, telemetry.Faults{telemetry.Humidity: "stuck"}, "stuck",
			map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 2, telemetry.Humidity: 3}},
		{"calibrated to what the wire does not take, or from it", func(_ context.Context, r *Reading) error {
			r.Values.Set(telemetry.Temperature, telemetry.MaxMicro+1)
			r.Raw.Set(telemetry.Temperature, telemetry.MaxMicro)
			r.Values.Set(telemetry.Humidity, 4)
			r.Raw.Set(telemetry.Humidity, telemetry.MaxMicro+1)
			r.Raw.Set(telemetry.Pressure, 5) // not its own
			return nil
		}, map[telemetry.Measure]telemetry.Micro{telemetry.Humidity: 4}, telemetry.Faults{telemetry.Temperature: "out_of_range"}, "out_of_range",
			map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: telemetry.MaxMicro}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var rec record
				set := metrics.NewSet()
				s := newSampler(t, Options{
					Sensors: []Sensor{{ID: "a", Interval: time.Second, Sources: []Source{
						{Name: "climate", Measures: climate, Chip: tt.sense},
						{Name: "air", Measures: []telemetry.Measure{telemetry.Pressure}, Chip: steady(telemetry.Pressure, 4, 0)},
					}}},
					Append:  rec.append,
					Metrics: set,
				})
				runFor(t, s, 500*time.Millisecond)
				want := telemetry.Frame{ID: "a", Timestamp: rec.frames[0].Timestamp, Faults: tt.faults}
				want.Payload.Set(telemetry.Pressure, 4)
				for m, v := range tt.payload {
					want.Payload.Set(m, v)
				}
				for m, v := range tt.raw {
					want.Raw.Set(m, v)
				}
				if diff := cmp.Diff([]telemetry.Frame{want}, rec.frames, cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
					t.Errorf("frames (-want +got):\n%s", diff)
				}
				if got := s.Stats().Faults["climate"]; got != tt.failing {
					t.Errorf("failing for %q, want %q", got, tt.failing)
				}
				var exposition bytes.Buffer
				set.WritePrometheus(&exposition)
				line := fmt.Sprintf("telltale_agent_chip_faults_total{chip=\"climate\",reason=%q} 1\n", tt.failing)
				if counted := strings.Contains(exposition.String(), line); counted != (tt.failing != "") {
					t.Errorf("metrics lack, or have, %s in:\n%s", line, &exposition)
				}
			})
		})
	}
}

func TestRefusedReadingIsCountedAndNotObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		appends, observed := 0, 0
		errFull := errors.New("full")
		set := metrics.NewSet()
		s := newSampler(t, Options{
			Sensors: []Sensor{thermometer("a", time.Second, steady(telemetry.Temperature, 1, 0))},
			Append: func(*telemetry.Frame, clock.Instant) error {
				if appends++; appends%2 == 0 {
					return errFull
				}
				return nil
			},
			Refusal: func(err error) string { return err.Error() },
			Observe: func(*telemetry.Frame) { observed++ },
			Metrics: set,
		})
		runFor(t, s, 4500*time.Millisecond)
		if st := s.Stats(); st.Sampled != 3 || st.Refused != 2 || observed != 3 {
			t.Errorf("stats %+v, observed %d; want 3 sampled and observed, 2 refused", st, observed)
		}
		var exposition bytes.Buffer
		set.WritePrometheus(&exposition)
		want := `telltale_agent_readings_refused_total{sensor="a",reason="full"} 2
telltale_agent_readings_total{sensor="a"} 3
telltale_agent_ticks_missed_total{sensor="a"} 0
`
		if diff := cmp.Diff(want, exposition.String()); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
}

// TestAppendIsGivenTheMoment has the wall clock set back between two ticks.
func TestAppendIsGivenTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moments := []clock.Instant{
			{Boot: 5 * time.Second, Time: time.UnixMilli(5000)}, {Boot: 6 * time.Second, Time: time.UnixMilli(6000), Known: true},
			{Boot: 7 * time.Second, Time: time.UnixMilli(1000)}, {Boot: 8 * time.Second, Time: time.UnixMilli(2000), Known: true},
		}
		next := 0
		var got []clock.Instant
		s := newSampler(t, Options{
			Sensors: []Sensor{thermometer("a", time.Second, steady(telemetry.Temperature, 1, 0))},
			Append: func(f *telemetry.Frame, at clock.Instant) error {
				if f.Timestamp != at.Time.UnixMilli() {
					t.Errorf("timestamp %d, want that of %v", f.Timestamp, at.Time)
				}
				got = append(got, at)
				return nil
			},
			Now: func() clock.Instant {
				next++
				return moments[next-1]
			},
		})
		runFor(t, s, 3500*time.Millisecond)
		if diff := cmp.Diff(moments, got); diff != "" {
			t.Errorf("moments (-want +got):\n%s", diff)
		}
	})
}

func TestStopDropsAReadingCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec record
		s := newSampler(t, Options{
			Sensors: []Sensor{thermometer("a", time.Second, senseFunc(func(ctx context.Context, _ *Reading) error {
				<-ctx.Done()
				return ctx.Err()
			}))},
			Append: rec.append,
		})
		runFor(t, s, 1300*time.Millisecond)
		if len(rec.frames) != 1 || rec.frames[0].Faults[telemetry.Temperature] != Timeout {
			t.Errorf("frames %+v, want one, whose temperature timed out", rec.frames)
		}
	})
}

func TestStopWaitsForAHungChipButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		s := newSampler(t, Options{
			Sensors: []Sensor{thermometer("a", time.Second, senseFunc(func(context.Context, *Reading) error {
				<-release
				return nil
			}))},
			Append: new(record).append,
		})
		start := time.Now()
		runFor(t, s, 300*time.Millisecond)
		if d := time.Since(start); d != 300*time.Millisecond+MaxWait {
			t.Errorf("stopped after %v, want %v", d, 300*time.Millisecond+MaxWait)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	good := func() Options {
		return Options{
			Append:  func(*telemetry.Frame, clock.Instant) error { return nil },
			Refusal: func(error) string { return "" },
			Now:     wallClock,
			Logger:  slog.New(slog.DiscardHandler),
			Metrics: metrics.NewSet(),
		}
	}
	if _, err := New(good()); err != nil {
		t.Fatalf("good options: %v", err)
	}
	for name, spoil := range map[string]func(*Options){
		"no Append":   func(o *Options) { o.Append = nil },
		"no Refusal":  func(o *Options) { o.Refusal = nil },
		"no Now":      func(o *Options) { o.Now = nil },
		"no Logger":   func(o *Options) { o.Logger = nil },
		"no Metrics":  func(o *Options) { o.Metrics = nil },
		"no interval": func(o *Options) { o.Sensors = []Sensor{thermometer("a", 0, nil)} },
		"a measure with two sources": func(o *Options) {
			s := thermometer("a", time.Second, nil)
			s.Sources = append(s.Sources, s.Sources...)
			o.Sensors = []Sensor{s}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			spoil(&o)
			if _, err := New(o); err == nil {
				t.Error("want an error")
			}
		})
	}
}
