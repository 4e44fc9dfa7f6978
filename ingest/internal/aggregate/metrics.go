package aggregate

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/latency"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

type metrics struct {
	frames    *prometheus.CounterVec // outcome
	counted   prometheus.Counter     // of frames
	duplicate prometheus.Counter     // of frames
	parts     *prometheus.CounterVec // outcome
	late      prometheus.Counter
	losses    prometheus.Counter
	stored    *prometheus.CounterVec // by, kind
	conflicts *prometheus.CounterVec // by
	replays   prometheus.Counter
	letters   *prometheus.CounterVec // reason
	rejected  *prometheus.CounterVec // by, what
	repairs   *prometheus.CounterVec // by
	retries   *prometheus.CounterVec // operation
	open      *prometheus.GaugeVec   // by, partition
	lag       *prometheus.GaugeVec   // by, partition

	// Of sensors' windows, what each store changed.
	missing, resolved     prometheus.Counter // readings
	incomplete, completed prometheus.Counter // windows
	delay                 latency.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "telltale", Subsystem: "aggregate", Name: name, Help: help}, labels)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "telltale", Subsystem: "aggregate", Name: name, Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "telltale", Subsystem: "aggregate", Name: name, Help: help}, []string{"by", "partition"})
	}
	m := &metrics{
		frames:    counters("frames_total", "Frames read, by what became of them.", "outcome"),
		parts:     counters("place_parts_total", "Parts of places read, by what became of them.", "outcome"),
		late:      counter("late_frames_total", "Frames whose window had to be read because it may have been stored before."),
		losses:    counter("losses_total", "Declarations of lost readings read."),
		stored:    counters("windows_stored_total", "Windows stored, for the first time or revised.", "by", "kind"),
		conflicts: counters("conflicts_total", "Stores refused because another revision was there.", "by"),
		replays:   counter("replays_total", "Times that a partition was read again from its commit, to count frames into a window stored by another."),
		letters:   counters("dead_letters_total", "Records that could not be processed, by reason.", "reason"),
		rejected:  counters("rejected_total", "Windows that the store, or records that Kafka, will never take.", "by", "what"),
		repairs:   counters("repairs_total", "Windows produced again because another owner had stored a later revision.", "by"),
		retries:   counters("retries_total", "Failed attempts that were repeated.", "operation"),
		open:      gauges("open_windows", "Windows held in memory."),
		lag:       gauges("lag_records", "Records after the last one read."),

		missing:    counter("readings_missing_total", "Readings that a window of a sensor was stored without, and that nothing explains; one that stays missing in a revision is not counted again."),
		resolved:   counter("readings_resolved_total", "Readings that were missing from a stored window, and came after all or were declared lost."),
		incomplete: counter("windows_incomplete_total", "Windows of sensors that were stored with readings missing, and had none missing before."),
		completed:  counter("windows_completed_total", "Windows of sensors that were stored with no reading missing, and had some missing before."),
		delay:      latency.New("telltale_aggregate_window_delay_seconds", "Time from the end of a sensor's window until it was stored for the first time."),
	}
	m.counted = m.frames.WithLabelValues("counted")
	m.duplicate = m.frames.WithLabelValues("duplicate")
	for _, c := range []prometheus.Collector{m.frames, m.parts, m.late, m.losses, m.stored, m.conflicts, m.replays, m.letters, m.rejected, m.repairs, m.retries, m.open, m.lag, m.missing, m.resolved, m.incomplete, m.completed, m.delay} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

const (
	bySensor = "sensor"
	byPlace  = "place"
)

// progress shows where the owner of a partition stands.
func (m *metrics) progress(by string, source Source, open int) {
	partition := strconv.Itoa(source.ID())
	m.open.WithLabelValues(by, partition).Set(float64(open))
	m.lag.WithLabelValues(by, partition).Set(float64(max(source.Lag(), 0)))
}

// gone forgets a partition that is no longer assigned.
func (m *metrics) gone(by string, source Source) {
	partition := strconv.Itoa(source.ID())
	m.open.DeleteLabelValues(by, partition)
	m.lag.DeleteLabelValues(by, partition)
}

// put counts a window that was stored as the given revision.
func (m *metrics) put(by string, revision int64) {
	kind := "first"
	if revision > 1 {
		kind = "revised"
	}
	m.stored.WithLabelValues(by, kind).Inc()
}

// sensor counts a sensor's window that is stored as the given revision, where
// before were missing with the one that it replaces.
func (m *metrics) sensor(revision, end, now int64, before, missing []window.Gap) {
	m.put(bySensor, revision)
	if revision == 1 {
		m.delay.Sampled(end, now)
	}
	was, is := readings(before), readings(missing)
	if is > was {
		m.missing.Add(float64(is - was))
	} else {
		m.resolved.Add(float64(was - is))
	}
	switch {
	case was == 0 && is > 0:
		m.incomplete.Inc()
	case was > 0 && is == 0:
		m.completed.Inc()
	}
}

func readings(gaps []window.Gap) (n uint64) {
	for _, g := range gaps {
		n += g.Seqs.Len()
	}
	return n
}
