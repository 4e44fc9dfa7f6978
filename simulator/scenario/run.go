package scenario

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Run samples the scenario's sensors for its duration, by the clock that it
// finds, and returns what came of it. If ctx ends before, the error is ctx's and
// the report what came until then; other errors are those of the files that the
// scenario names.
func (s *Scenario) Run(ctx context.Context) (*Report, error) {
	begin := time.Now()
	world, err := s.World(begin)
	if err != nil {
		return nil, err
	}
	t, err := newTally(s, world)
	if err != nil {
		return nil, err
	}
	// Just before the end, so that a tick that falls on it is not a matter of
	// who is first.
	sampling, stop := context.WithDeadline(ctx, begin.Add(s.Duration-1))
	defer stop()
	config := agent.DefaultConfig()
	config.Sensors = s.Sensors
	config.Clock.Trust = "always"
	set := metrics.NewSet()
	err = agent.Watch(sampling, agent.Options{
		Config:  config,
		OpenBus: world.OpenBus,
		Clock: &agent.ClockSource{
			Boottime: func() time.Duration { return time.Since(begin) },
			Wall:     time.Now,
			Believed: func() bool { return true },
		},
		Metrics: set,
	}, t.take)
	if err != nil {
		return nil, err
	}
	return t.report(set), ctx.Err()
}

// tally counts readings as they are taken.
type tally struct {
	scenario *Scenario
	begin    time.Time
	chips    map[string][]*sampled // of a sensor

	mu        sync.Mutex
	qualities map[string]*[telemetry.Measures]*Quality
}

// sampled is an emulated chip as a sensor's chip sees it.
type sampled struct {
	config *agent.SensorChip
	chip   *mounted // nil if there is none at its address
}

func newTally(s *Scenario, w *World) (*tally, error) {
	t := &tally{
		scenario: s, begin: w.begin,
		chips: make(map[string][]*sampled), qualities: make(map[string]*[telemetry.Measures]*Quality),
	}
	for i := range s.Sensors {
		sensor := &s.Sensors[i]
		t.qualities[sensor.ID] = new([telemetry.Measures]*Quality)
		for _, m := range measuresOf(sensor) {
			t.qualities[sensor.ID][m] = &Quality{Sensor: sensor.ID, Measure: m, Faults: make(map[string]int)}
		}
		for j := range sensor.Chips {
			c := &sensor.Chips[j]
			if _, ok := resolution(c, telemetry.Temperature, 0); !ok {
				return nil, fmt.Errorf("sensor %s: no resolution is known of a %s", sensor.ID, c.Driver)
			}
			t.chips[sensor.ID] = append(t.chips[sensor.ID], &sampled{c, w.places[placeOf(c)]})
		}
	}
	return t, nil
}

// placeOf is where an agent looks for a chip.
func placeOf(c *agent.SensorChip) place {
	return place{bus: c.Bus, address: c.Address, multiplexer: c.Multiplexer, channel: c.Channel}
}

// take counts one reading.
func (t *tally) take(f *telemetry.Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.chips[f.ID] {
		for _, m := range s.config.Supplies() {
			q := t.qualities[f.ID][m]
			v, ok := f.Payload.Get(m)
			if !ok {
				q.Faults[f.Faults[m]]++
				continue
			}
			q.OK++
			if raw, ok := f.Raw.Get(m); ok {
				v = raw // a calibration is no error of the chip
			}
			t.compare(q, s, v.Float(), time.UnixMilli(f.Timestamp))
		}
		if s.chip != nil {
			s.chip.forget()
		}
	}
}

// compare holds a value of a reading that began at a time against what the
// chip converted: one of the conversions that its registers showed since the
// reading before. Its measures may have been converted one after another.
func (t *tally) compare(q *Quality, s *sampled, v float64, begun time.Time) {
	if s.chip == nil {
		q.wrong(t.begin, v, "there is no chip")
		return
	}
	q.Deviation = max(q.Deviation, apart(v, quantitiesOf(s.chip.around.At(begun))[q.Measure]))
	within, _ := resolution(s.config, q.Measure, v)
	fresh, old := math.Inf(1), math.Inf(1)
	for _, c := range s.chip.shown() {
		off := apart(v, quantitiesOf(c.Environment)[q.Measure])
		if lag := begun.Sub(c.End); lag > c.End.Sub(c.Start) {
			old = min(old, off)
		} else {
			fresh = min(fresh, off)
		}
	}
	switch {
	case fresh <= within:
		q.Error = max(q.Error, fresh)
	case old <= within:
		q.Stale++
	default:
		q.wrong(t.begin, v, fmt.Sprintf("off by %.4g", min(fresh, old)))
	}
}

// wrong counts a value as wrong.
func (q *Quality) wrong(begin time.Time, v float64, why string) {
	if q.Wrong++; q.FirstWrong == "" {
		q.FirstWrong = fmt.Sprintf("%g after %v, %s", v, time.Since(begin).Round(time.Millisecond), why)
	}
}

// report says what came of it, in the order of the scenario.
func (t *tally) report(set *metrics.Set) *Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &Report{}
	for i := range t.scenario.Sensors {
		sensor := &t.scenario.Sensors[i]
		missed := set.GetOrCreateCounter(fmt.Sprintf("telltale_agent_ticks_missed_total{sensor=%q}", sensor.ID)).Get()
		for _, q := range t.qualities[sensor.ID] {
			if q != nil {
				q.Missed = int(missed)
				r.Qualities = append(r.Qualities, *q)
			}
		}
	}
	return r
}
