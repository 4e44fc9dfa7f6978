package bridge

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/latency"
)

// Metrics are the bridge's. They are made before it, for its producer counts
// into them too.
type Metrics struct {
	deviceMessages, seedMessages prometheus.Counter

	compressed      prometheus.Counter
	frames          prometheus.Counter
	throttled       map[string]prometheus.Counter // by reason
	throttledBytes  prometheus.Counter
	buckets         prometheus.Gauge
	deadLetters     *prometheus.CounterVec
	losses          prometheus.Counter
	receipts        prometheus.Counter
	receiptsDropped prometheus.Counter
	retries         *prometheus.CounterVec
	unacknowledged  prometheus.Gauge
	produceDuration prometheus.Histogram
	latency         latency.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_bridge_messages_total",
		Help: "MQTT messages taken, by the kind of topic: device or seed.",
	}, []string{"source"})
	throttled := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_bridge_throttled_total",
		Help: "Messages beyond their device's limit, not taken and not receipted, by the limit: rate or bandwidth.",
	}, []string{"reason"})
	m := &Metrics{
		throttled: map[string]prometheus.Counter{
			reasonRate:      throttled.WithLabelValues(reasonRate),
			reasonBandwidth: throttled.WithLabelValues(reasonBandwidth),
		},
		deviceMessages: messages.WithLabelValues("device"),
		seedMessages:   messages.WithLabelValues("seed"),
		compressed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_bridge_compressed_messages_total",
			Help: "Messages of devices that came compressed, broken ones included.",
		}),
		frames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_bridge_frames_total",
			Help: "Frames found in MQTT messages, refused ones included.",
		}),
		throttledBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_bridge_throttled_bytes_total",
			Help: "Bytes of the payloads of messages beyond their device's limit, as they came.",
		}),
		buckets: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "telltale_bridge_limited_devices",
			Help: "Devices whose messages are counted against limits at present.",
		}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "telltale_bridge_dead_letters_total",
			Help: "Frames and messages refused, by reason.",
		}, []string{"reason"}),
		losses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_bridge_losses_declared_total",
			Help: "Refused frames that the bridge declared lost.",
		}),
		receipts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_bridge_receipts_total",
			Help: "Receipts sent to devices, one for each device of a batch.",
		}),
		receiptsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_bridge_receipts_dropped_total",
			Help: "Receipts not sent, as the broker was away or did not keep up; the device sends again.",
		}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "telltale_bridge_produce_retries_total",
			Help: "Requests to Kafka, or partitions of them, that failed and are tried again, by reason.",
		}, []string{"reason"}),
		unacknowledged: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "telltale_bridge_unacknowledged",
			Help: "MQTT messages taken and not yet acknowledged.",
		}),
		produceDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "telltale_bridge_produce_duration_seconds",
			Help:    "Time until Kafka had acknowledged all of a batch, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		latency: latency.New("telltale_bridge_latency_seconds", "Time from a reading's sampling until Kafka had acknowledged it."),
	}
	for _, c := range []prometheus.Collector{messages, m.compressed, m.frames, throttled, m.throttledBytes, m.buckets, m.deadLetters, m.losses, m.receipts, m.receiptsDropped, m.retries, m.unacknowledged, m.produceDuration, m.latency} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("bridge: %w", err)
		}
	}
	return m, nil
}

// Retried counts a failure to write to Kafka that is tried again. It is safe
// for concurrent use, and meant for the producer's options.
func (m *Metrics) Retried(reason string) { m.retries.WithLabelValues(reason).Inc() }
