package config

import (
	"net/url"
	"strings"

	"github.com/telltale-iot/telltale/internal/certificate"
	"github.com/telltale-iot/telltale/internal/settings"
)

// Certificates returns the files of certificates that the process' roles use.
func (c *Config) Certificates() (files []certificate.File) {
	add := func(of, client, ca string) {
		files = append(files, certificate.File{Use: of + "_client", Name: client}, certificate.File{Use: of + "_ca", Name: ca, Authorities: true})
	}
	tls := func(of string, t settings.TLS) { add(of, t.CertFile, t.CAFile) }
	mqtt := c.Has(RoleBridge) || c.Has(RoleMetrics) && c.Metrics.MaxDevices > 0
	if mqtt && strings.HasPrefix(c.MQTT.URL, "tls://") {
		tls("mqtt", c.MQTT.TLS)
	}
	if c.Kafka.TLSEnabled {
		tls("kafka", c.Kafka.TLS)
	}
	if c.Has(RoleAggregate) || c.Has(RoleSink) {
		add("mongo", c.Mongo.option("tlsCertificateKeyFile"), c.Mongo.option("tlsCAFile"))
	}
	if c.Has(RoleMetrics) && strings.HasPrefix(c.Metrics.RemoteWrite.URL, "https://") {
		tls("remote_write", c.Metrics.RemoteWrite.TLS)
	}
	return append(files, c.Metrics.TLS.Certificates()...)
}

// option returns an option of the connection string, "" if it is not there. Names
// of options have no case.
func (m Mongo) option(name string) string {
	_, query, _ := strings.Cut(m.URI.Reveal(), "?")
	options, err := url.ParseQuery(query)
	if err != nil {
		return "" // the driver says so
	}
	for key, values := range options {
		if strings.EqualFold(key, name) {
			return values[0]
		}
	}
	return ""
}
