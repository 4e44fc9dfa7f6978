package agent

import (
	"io"
	"maps"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/agent/internal/mqtt"
)

// Stats is what an agent has done since it was made, and its state.
type Stats struct {
	Sampled   uint64            // readings put into the buffer
	Refused   uint64            // readings that the buffer did not take
	Missed    uint64            // ticks at which nothing was sampled, the one before being late
	Buffered  uint64            // readings in the buffer that are not freed yet
	Connected bool              // to the broker
	Faults    map[string]string // the chips that fail now, with the reason
	Losses    map[string]uint64 // readings declared lost since Run began, by reason
	DiskFault string            // why readings go to memory; "": they go to disk
	Clock     string            // synced, holdover or unsynced
}

// Stats returns the state of now.
func (a *Agent) Stats() Stats {
	s := a.sampling.stats()
	b := a.bufferStats()
	return Stats{
		Sampled:   s.Sampled,
		Refused:   s.Refused,
		Missed:    s.Missed,
		Buffered:  b.Frames,
		Connected: a.current.Load().client.Connected(),
		Faults:    s.Faults,
		Losses:    losses(&b),
		DiskFault: b.Fault,
		Clock:     string(a.clock.State()),
	}
}

// losses returns what was lost, without the reasons for which nothing was.
func losses(b *buffer.Stats) map[string]uint64 {
	lost := maps.Clone(b.Lost)
	maps.DeleteFunc(lost, func(_ string, n uint64) bool { return n == 0 })
	return lost
}

// bufferStats are the buffer's, zero before Run has opened it.
func (a *Agent) bufferStats() buffer.Stats {
	if b := a.buffer.Load(); b != nil {
		return b.Stats()
	}
	return buffer.Stats{}
}

// status is what the status topic says.
func (a *Agent) status() mqtt.Status {
	b := a.bufferStats()
	sampled := a.sampling.stats()
	depth := &mqtt.Depth{
		Frames: b.Frames, Bytes: b.Bytes, Used: b.Used, Capacity: b.Capacity, Oldest: b.Oldest, Memory: b.MemoryFrames, Fault: b.Fault,
	}
	var timestamp int64
	if now := a.clock.Now(); now.Known {
		timestamp = now.Time.UnixMilli()
		if b.Oldest != 0 {
			depth.Age = int64(now.Time.Sub(time.UnixMilli(b.Oldest)).Seconds())
		}
	}
	return mqtt.Status{
		Version:    a.opts.Version,
		Timestamp:  timestamp,
		Uptime:     int64(time.Since(a.started).Seconds()),
		Readings:   sampled.Sampled,
		Clock:      string(a.clock.State()),
		Buffer:     depth,
		Faults:     sampled.Faults,
		Calibrated: a.calibrated(),
		Losses:     losses(&b),

		CertificateExpires: a.clientExpires(),
	}
}

// calibrated returns the day of the oldest calibration of each chip that has one.
func (a *Agent) calibrated() map[string]string {
	days := make(map[string]string)
	sensors := a.current.Load().config.Sensors
	for i := range sensors {
		for j := range sensors[i].Chips {
			if chip := &sensors[i].Chips[j]; len(chip.Calibration) > 0 {
				days[chip.Name()] = chip.Calibrated()
			}
		}
	}
	return days
}

// writeMetrics writes what is known when it is asked for.
func (a *Agent) writeMetrics(w io.Writer) {
	b := a.bufferStats()
	metrics.WriteGaugeUint64(w, "telltale_agent_buffer_frames", b.Frames)
	metrics.WriteGaugeUint64(w, "telltale_agent_buffer_size_bytes", uint64(b.Bytes))
	metrics.WriteGaugeUint64(w, "telltale_agent_buffer_used_bytes", uint64(b.Used))
	metrics.WriteGaugeUint64(w, "telltale_agent_buffer_capacity_bytes", uint64(b.Capacity))
	metrics.WriteGaugeFloat64(w, "telltale_agent_buffer_oldest_timestamp_seconds", float64(b.Oldest)/1e3)
	metrics.WriteGaugeUint64(w, "telltale_agent_buffer_memory_frames", b.MemoryFrames)
	metrics.WriteCounterUint64(w, "telltale_agent_buffer_written_bytes_total", b.BytesWritten)
	metrics.WriteCounterUint64(w, "telltale_agent_buffer_synced_bytes_total", b.BytesSynced)
	metrics.WriteCounterUint64(w, "telltale_agent_buffer_syncs_total", b.Syncs)
	for _, reason := range slices.Sorted(maps.Keys(b.Failovers)) {
		metrics.WriteCounterUint64(w, `telltale_agent_buffer_failovers_total{reason="`+reason+`"}`, b.Failovers[reason])
	}
	a.writeClock(w)
	a.writeExpiry(w)
	for _, reason := range slices.Sorted(maps.Keys(b.Lost)) {
		metrics.WriteCounterUint64(w, `telltale_agent_readings_lost_total{reason="`+reason+`"}`, b.Lost[reason])
	}
	faults := a.sampling.stats().Faults
	metrics.WriteGaugeUint64(w, "telltale_agent_chips_failing", uint64(len(faults)))
	metrics.WriteGaugeFloat64(w, "telltale_agent_uptime_seconds", time.Since(a.started).Seconds())
}

// writeClock writes a gauge that is 1 for the clock's state and 0 for the others.
func (a *Agent) writeClock(w io.Writer) {
	state := a.clock.State()
	for _, s := range []clock.State{clock.Synced, clock.Holdover, clock.Unsynced} {
		is := uint64(0)
		if s == state {
			is = 1
		}
		metrics.WriteGaugeUint64(w, `telltale_agent_clock_state{state="`+string(s)+`"}`, is)
	}
}
