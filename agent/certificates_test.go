package agent

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
)

// TestCertificateExpiry holds what the metrics, the status and the log say of the
// files of the connection to the broker, and that those of one without TLS are not
// looked at.
func TestCertificateExpiry(t *testing.T) {
	now := time.Now()
	root := certificatetest.Authority(t, now.Add(1000*time.Hour))
	pair := root.Issue(t, "dev", now.Add(100*time.Hour))
	dir := t.TempDir()
	certificatetest.Write(t, filepath.Join(dir, "cert"), pair.PEM())
	certificatetest.Write(t, filepath.Join(dir, "key"), pair.KeyPEM(t))
	certificatetest.Write(t, filepath.Join(dir, "ca"), root.PEM())
	config, err := ParseConfig("agent.yaml", []byte(`
device: dev
mqtt: {url: "tls://127.0.0.1:1", tls: {cert_file: DIR/cert, key_file: DIR/key, ca_file: DIR/ca}}
sensors: [{id: dev, chips: [{driver: bme280, address: 0x76}]}]
`)) // DIR is put in below: the files are not read yet
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []*string{&config.MQTT.TLS.CertFile, &config.MQTT.TLS.KeyFile, &config.MQTT.TLS.CAFile} {
		*file = strings.Replace(*file, "DIR", dir, 1)
	}
	set := metrics.NewSet()
	var log bytes.Buffer
	a, err := New(Options{Config: config, Metrics: set, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ends := func() (lines []string) {
		var out bytes.Buffer
		set.WritePrometheus(&out)
		for line := range strings.Lines(out.String()) {
			if end, ok := strings.CutPrefix(line, "telltale_agent_certificate_expiry_timestamp_seconds"); ok {
				lines = append(lines, end)
			}
		}
		return lines
	}
	second := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	want := `{use="mqtt_ca"} ` + second(root.NotAfter) + "\n" + `{use="mqtt_client"} ` + second(pair.NotAfter) + "\n"
	if got := strings.Join(ends(), ""); got != want {
		t.Errorf("metrics:\n%swant\n%s", got, want)
	}
	if got := a.status().CertificateExpires; got != pair.NotAfter.Unix() {
		t.Errorf("status: %d, want %d", got, pair.NotAfter.Unix())
	}
	a.warnOfExpiry()
	if !strings.Contains(log.String(), `msg="certificate expires soon" use=mqtt_client file=`+dir+"/cert expires=") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("log:\n%s", &log)
	}

	config.MQTT.URL = "tcp://127.0.0.1:1"
	g, err := a.newGeneration(config)
	if err != nil {
		t.Fatal(err)
	}
	a.current.Store(g)
	if lines := ends(); len(lines) != 0 || a.status().CertificateExpires != 0 {
		t.Errorf("without TLS: %s", lines)
	}
}
