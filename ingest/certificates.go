package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/internal/certificate"
)

// addCertificates shows and warns of the ends of the certificates in use.
func (i *Ingest) addCertificates() error {
	i.expiry = certificate.NewExpiry(i.options.Config.Certificates(), time.Now, i.log)
	return i.options.Registry.Register(expiryCollector{i.expiry, prometheus.NewDesc(
		"telltale_certificate_expiry_timestamp_seconds",
		"Unix time at which certificates end, by what they are used for. Absent if the file cannot be read.", []string{"use"}, nil,
	)})
}

// expiryCollector reads the files when it is asked.
type expiryCollector struct {
	expiry *certificate.Expiry
	desc   *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c expiryCollector) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c expiryCollector) Collect(metrics chan<- prometheus.Metric) {
	for use, end := range c.expiry.Ends() {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(end.Unix()), use)
	}
}
