package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCertificates: of each role's files, those that are used.
func TestCertificates(t *testing.T) {
	const all = `
mqtt: {url: "tls://broker:8883", tls: {ca_file: a, cert_file: b, key_file: x}}
kafka: {tls_enabled: true, tls: {ca_file: c, cert_file: d, key_file: x}}
mongo: {uri: "mongodb://db-1,db-2/?tls=true&tlscafile=%2Fe&tlsCertificateKeyFile=f&w=1"}
metrics:
  tls: {cert_file: i, key_file: x, client_ca_file: j}
  remote_write: {url: "https://receiver/write", tls: {ca_file: g, cert_file: h, key_file: x}}
`
	for _, tt := range []struct {
		yaml string
		want map[string]string
	}{
		{all, map[string]string{
			"mqtt_ca": "a", "mqtt_client": "b", "kafka_ca": "c", "kafka_client": "d", "mongo_ca": "/e", "mongo_client": "f",
			"remote_write_ca": "g", "remote_write_client": "h", "metrics_server": "i", "metrics_client_ca": "j",
		}},
		{"roles: [bridge]" + all, map[string]string{
			"mqtt_ca": "a", "mqtt_client": "b", "kafka_ca": "c", "kafka_client": "d", "metrics_server": "i", "metrics_client_ca": "j",
		}},
		{"roles: [sink]" + all, map[string]string{
			"kafka_ca": "c", "kafka_client": "d", "mongo_ca": "/e", "mongo_client": "f", "metrics_server": "i", "metrics_client_ca": "j",
		}},
		{"roles: [metrics]" + all, map[string]string{
			"mqtt_ca": "a", "mqtt_client": "b", "kafka_ca": "c", "kafka_client": "d",
			"remote_write_ca": "g", "remote_write_client": "h", "metrics_server": "i", "metrics_client_ca": "j",
		}},
		{"roles: [metrics]" + all + "  max_devices: 0\n", map[string]string{
			"kafka_ca": "c", "kafka_client": "d", "remote_write_ca": "g", "remote_write_client": "h", "metrics_server": "i", "metrics_client_ca": "j",
		}},
		{"", map[string]string{}},
		{`mongo: {uri: "mongodb://db/?tlsCAFile=%zz"}`, map[string]string{}},
	} {
		c, err := Parse("ingest.yaml", []byte(tt.yaml))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, f := range c.Certificates() {
			if f.Name != "" {
				got[f.Use] = f.Name
			}
			if authorities := f.Use[len(f.Use)-3:] == "_ca"; f.Authorities != authorities {
				t.Errorf("%s: authorities %v", f.Use, f.Authorities)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.yaml, diff)
		}
	}
}
