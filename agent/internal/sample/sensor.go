package sample

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// MaxWait bounds how long a tick waits for its chips; a sensor whose interval
// is short waits for three quarters of it.
const MaxWait = 2 * time.Second

var (
	errBusy   = &FaultError{Timeout, errors.New("still busy with an earlier reading")}
	errLate   = &FaultError{Timeout, errors.New("no answer in time")}
	errAbsent = &FaultError{NotReady, errors.New("the chip gave no value")}
	errRange  = &FaultError{OutOfRange, errors.New("the value is out of range")}
)

// sensor keeps one schedule. All but its counters belongs to the goroutine of
// run.
type sensor struct {
	sampler *Sampler
	*Sensor
	wait    time.Duration
	workers []worker
	results chan result
	frame   telemetry.Frame
	at      clock.Instant // when it was begun
	refusal string        // of the latest reading, "" if it was taken

	// What this sampler counts; the metrics go on over all samplers of the set
	// that have this sensor.
	sampled, missed, refused    atomic.Uint64
	sampledMetric, missedMetric *metrics.Counter

	ticked atomic.Int64 // when the latest tick began, after sampler.made; 0 if there is no schedule
}

func newSensor(s *Sampler, config *Sensor) *sensor {
	label := fmt.Sprintf("{sensor=%q}", config.ID)
	n := &sensor{
		sampler: s,
		Sensor:  config,
		wait:    min(config.Interval*3/4, MaxWait),
		workers: make([]worker, len(config.Sources)),
		results: make(chan result, len(config.Sources)),

		sampledMetric: s.opts.Metrics.GetOrCreateCounter("telltale_agent_readings_total" + label),
		missedMetric:  s.opts.Metrics.GetOrCreateCounter("telltale_agent_ticks_missed_total" + label),
	}
	for i := range n.workers {
		n.workers[i] = worker{index: i, chip: config.Sources[i].Chip, requests: make(chan request, 1)}
	}
	return n
}

// run samples on schedule until ctx ends.
func (s *sensor) run(ctx context.Context) {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.tick()
	defer s.ticked.Store(0)
	for tick := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		s.tick()
		s.sample(ctx, tick)
		next := max(tick+1, uint64(time.Since(start)/s.Interval)+1)
		s.miss(next - tick - 1)
		tick = next
		timer.Reset(time.Until(start.Add(time.Duration(tick) * s.Interval)))
	}
}

// tick notes that the schedule makes progress.
func (s *sensor) tick() { s.ticked.Store(max(1, int64(time.Since(s.sampler.made)))) }

// stalled reports whether the next tick has not begun although even a reading
// that waited for its chips would be over.
func (s *sensor) stalled() bool {
	ticked := time.Duration(s.ticked.Load())
	return ticked > 0 && time.Since(s.sampler.made)-ticked > s.Interval+MaxWait
}

func (s *sensor) miss(ticks uint64) {
	s.missed.Add(ticks)
	s.missedMetric.AddInt64(int64(ticks))
}

// sample takes one reading and appends it.
func (s *sensor) sample(ctx context.Context, tick uint64) {
	s.at = s.sampler.opts.Now()
	s.frame = telemetry.Frame{
		ID:        s.ID,
		Name:      s.Name,
		PlaceID:   s.PlaceID,
		Timestamp: s.at.Time.UnixMilli(),
	}
	late := time.NewTimer(s.wait)
	defer late.Stop()
	pending := s.start(request{tick, time.Now().Add(s.wait)})
	for pending > 0 {
		select {
		case r := <-s.results:
			s.workers[r.index].busy = false
			if r.tick == tick {
				s.take(&r)
				pending--
			}
		case <-ctx.Done():
			return // the agent stops: a reading cut short says nothing of its chips
		case <-late.C:
			s.abandon(tick)
			pending = 0
		}
	}
	s.append()
}

// start asks every chip that is not busy for a reading, and returns how many.
func (s *sensor) start(req request) (pending int) {
	for range len(s.results) { // what came too late for an earlier tick
		r := <-s.results
		s.workers[r.index].busy = false
	}
	for i := range s.workers {
		w := &s.workers[i]
		if w.busy {
			s.take(&result{index: i, err: errBusy})
			continue
		}
		w.busy, w.tick = true, req.tick
		w.requests <- req
		pending++
	}
	return pending
}

// abandon gives up the chips that have not answered this tick.
func (s *sensor) abandon(tick uint64) {
	for i := range s.workers {
		if w := &s.workers[i]; w.busy && w.tick == tick {
			s.take(&result{index: i, err: errLate})
		}
	}
}

// take puts a chip's result into the frame.
func (s *sensor) take(r *result) {
	source := &s.Sources[r.index]
	err := r.err
	for _, m := range source.Measures {
		if raw, ok := r.reading.Raw.Get(m); ok && sendable(raw) {
			s.frame.Raw.Set(m, raw)
		}
		v, ok := r.reading.Values.Get(m)
		var fault error
		switch {
		case !ok && r.err != nil:
			fault = r.err
		case !ok:
			fault = errAbsent
		case !sendable(v):
			fault = errRange
		default:
			s.frame.Payload.Set(m, v)
			continue
		}
		s.frame.Faults[m] = Reason(fault)
		err = fault
	}
	reason := ""
	if err != nil {
		reason = Reason(err)
		s.sampler.opts.Metrics.GetOrCreateCounter(
			fmt.Sprintf("telltale_agent_chip_faults_total{chip=%q,reason=%q}", source.Name, reason)).Inc()
	}
	s.sampler.report(source.Name, reason, err)
}

// sendable reports whether a frame can carry v.
func sendable(v telemetry.Micro) bool { return -telemetry.MaxMicro <= v && v <= telemetry.MaxMicro }

// append hands the frame on. A refusal is counted, and logged when it begins.
func (s *sensor) append() {
	o := &s.sampler.opts
	err := o.Append(&s.frame, s.at)
	if err == nil {
		s.sampled.Add(1)
		s.sampledMetric.Inc()
		s.refusal = ""
		if o.Observe != nil {
			o.Observe(&s.frame)
		}
		return
	}
	reason := o.Refusal(err)
	s.refused.Add(1)
	o.Metrics.GetOrCreateCounter(
		fmt.Sprintf("telltale_agent_readings_refused_total{sensor=%q,reason=%q}", s.ID, reason)).Inc()
	if reason != s.refusal {
		o.Logger.Error("reading refused", "sensor", s.ID, "reason", reason, "error", err)
	}
	s.refusal = reason
}
