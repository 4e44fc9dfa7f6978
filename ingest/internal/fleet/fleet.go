package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Options configures a [Fleet].
type Options struct {
	// MaxDevices caps the devices that are shown; it must be positive. The
	// statuses of further devices are counted and not shown.
	MaxDevices int

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
}

// Fleet keeps each device's latest status and is a [prometheus.Collector] of
// them. It is safe for concurrent use.
type Fleet struct {
	options  Options
	statuses prometheus.Counter
	refused  *prometheus.CounterVec // reason

	mu      sync.Mutex
	devices map[string]known
}

// known is a device's latest status, and when it was said: Unix milliseconds,
// or 0 if that is not known.
type known struct {
	status
	at int64
}

// New returns a Fleet without devices.
func New(o Options) (*Fleet, error) {
	if o.MaxDevices <= 0 {
		return nil, fmt.Errorf("fleet: MaxDevices is %d, must be positive", o.MaxDevices)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{
		options: o, devices: make(map[string]known),
		statuses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_fleet_statuses_total", Help: "Messages on the status topics of devices.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "telltale_fleet_statuses_refused_total", Help: "Messages on the status topics of devices that are not shown, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{reasonTopic, reasonTooLarge, reasonNotJSON, reasonValue, reasonDevices} {
		f.refused.WithLabelValues(reason)
	}
	return f, nil
}

// Handle takes a message of a status topic. Whose it is the topic says, not the
// payload. retained says that the broker had it from before: it is then as old
// as it says itself. An empty one, by which a retained status is deleted, makes
// the device unknown.
func (f *Fleet) Handle(topic string, payload []byte, retained bool) {
	f.statuses.Inc()
	device, kind, ok := telemetry.ParseTopic(topic)
	if !ok || kind != telemetry.Status {
		f.refuse(topic, reasonTopic, errors.New("not a status topic of a valid device"))
		return
	}
	if len(payload) == 0 {
		f.forget(device)
		return
	}
	s, reason, err := parse(payload)
	if err != nil {
		f.refuse(topic, reason, err)
		return
	}
	now := f.options.Now().UnixMilli()
	at := now
	if retained {
		at = min(s.Timestamp, now)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.devices[device]; !ok && len(f.devices) >= f.options.MaxDevices {
		f.refused.WithLabelValues(reasonDevices).Inc()
		return
	}
	f.devices[device] = known{s, at}
}

func (f *Fleet) refuse(topic, reason string, err error) {
	f.refused.WithLabelValues(reason).Inc()
	f.options.Logger.Debug("status refused", "topic", topic, "reason", reason, "error", err)
}

func (f *Fleet) forget(device string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.devices, device)
}
