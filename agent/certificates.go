package agent

import (
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/internal/certificate"
)

// mqttClient is the use of the certificate that says to the broker who the device
// is.
const mqttClient = "mqtt_client"

// newExpiry returns the ends of the certificates that a configuration uses.
func (a *Agent) newExpiry(c *Config) *certificate.Expiry {
	var files []certificate.File
	if strings.HasPrefix(c.MQTT.URL, "tls://") {
		files = append(files,
			certificate.File{Use: mqttClient, Name: c.MQTT.TLS.CertFile},
			certificate.File{Use: "mqtt_ca", Name: c.MQTT.TLS.CAFile, Authorities: true})
	}
	if c.Metrics.Listen != "" {
		files = append(files, c.Metrics.TLS.Certificates()...)
	}
	return certificate.NewExpiry(files, func() time.Time { return a.clock.Now().Time }, a.opts.Logger)
}

// warnOfExpiry logs the certificates of the present configuration that end soon.
func (a *Agent) warnOfExpiry() { a.current.Load().expiry.Warn() }

// writeExpiry writes when certificates end.
func (a *Agent) writeExpiry(w io.Writer) {
	ends := a.current.Load().expiry.Ends()
	for _, use := range slices.Sorted(maps.Keys(ends)) {
		metrics.WriteGaugeUint64(w, `telltale_agent_certificate_expiry_timestamp_seconds{use="`+use+`"}`, uint64(max(0, ends[use].Unix())))
	}
}

// clientExpires returns when the certificate for the broker ends, in Unix seconds;
// 0 if there is none.
func (a *Agent) clientExpires() int64 {
	if end := a.current.Load().expiry.End(mqttClient); !end.IsZero() {
		return end.Unix()
	}
	return 0
}
