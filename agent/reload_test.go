package agent_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// loader returns a loader of the test's document with the texts replaced.
func loader(t *testing.T, replace ...string) func() (agent.Config, error) {
	t.Helper()
	changed := strings.NewReplacer(replace...).Replace(document)
	return func() (agent.Config, error) { return agent.ParseConfig("agent.yaml", []byte(changed)) }
}

func (r *record) of(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, f := range r.frames {
		if f.ID == id {
			n++
		}
	}
	return n
}

const (
	secondSensor = `  - id: dev.second
    interval: 250ms
    chips:
      - {driver: bmp280, address: 0x77}
`
	thirdSensor = `  - id: dev.third
    interval: 10ms
    chips:
      - {driver: bh1750, address: 0x5c, mode: low}
`
)

// An agent under load is reloaded again and again, with right configurations
// and wrong ones. No number of a reading is missing or given twice, and each
// reading arrives as it was sampled.
func TestReloadLosesNothing(t *testing.T) {
	sampled, received := newRecord(), newRecord()
	bus := newBus(t)
	light, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: i2csim.Constant{Temperature: physic.ZeroCelsius}})
	must(t, err)
	must(t, bus.Attach(0x5c, light))
	in := startIngest(t, "127.0.0.1:0", received)
	other := startIngest(t, "127.0.0.1:0", received) // another broker, the same database
	dir := t.TempDir()
	a := run(t, in.addr, dir, bus, sampled.add)
	eventually(t, "the endpoint listens", func() bool { return a.MetricsAddr() != "" })
	more := func(r *record, id string) {
		t.Helper()
		n := r.of(id)
		eventually(t, "5 more readings of "+id, func() bool { return r.of(id) >= n+5 })
	}
	more(sampled, "dev.second")

	accepted, refused := 0, 0
	for range 3 {
		// dev faster, dev.second gone, dev.third there, and the other broker.
		faster := []string{"interval: 250ms\n    chips:\n      - {driver: bme280", "interval: 10ms\n    chips:\n      - {driver: bme280",
			secondSensor, thirdSensor, "DIR", dir, "ADDR", other.addr}
		must(t, a.Reload(loader(t, faster...)))
		accepted++
		gone := sampled.of("dev.second")
		more(received, "dev")
		more(received, "dev.third")
		if n := sampled.of("dev.second"); n != gone {
			t.Errorf("dev.second is sampled after it was removed: %d readings, then %d", gone, n)
		}

		taken, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		for want, wrong := range map[string][]string{
			"sensors[1].chips[0].address": {"0x77", "0x99", "DIR", dir, "ADDR", in.addr},
			"buffer.dir":                  {"DIR", t.TempDir(), "ADDR", in.addr},
			"device":                      {"device: dev", "device: other", "id: dev", "id: other", "DIR", dir, "ADDR", in.addr},
			"metrics.listen":              {"127.0.0.1:0", taken.Addr().String(), "DIR", dir, "ADDR", in.addr, secondSensor, ""},
		} {
			if err := a.Reload(loader(t, wrong...)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Reload: %v, want an error that names %s", err, want)
			}
			refused++
		}
		more(received, "dev")
		more(received, "dev.third") // the old configuration goes on as a whole
		_ = taken.Close()

		must(t, a.Reload(loader(t, "DIR", dir, "ADDR", in.addr)))
		accepted++
		more(received, "dev")
		more(received, "dev.second")
	}

	st := a.Stats()
	if len(st.Losses) != 0 || st.Refused != 0 {
		t.Errorf("stats %+v, want nothing lost or refused", st)
	}
	if diff := cmp.Diff(map[string]string{"bmp280@1:0x77": "nack"}, st.Faults); diff != "" {
		t.Errorf("faults are those of the sensors there are (-want +got):\n%s", diff)
	}
	a.drained(t)
	wantSame(t, sampled, received)
	if st := a.Stats(); st.Sampled != uint64(sampled.len()) {
		t.Errorf("stats %+v, want %d sampled", st, sampled.len())
	}

	response, err := http.Get("http://" + a.MetricsAddr() + "/metrics")
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	for _, line := range []string{
		fmt.Sprintf("telltale_agent_config_reloads_total{result=\"ok\"} %d\n", accepted),
		fmt.Sprintf("telltale_agent_config_reloads_total{result=\"refused\"} %d\n", refused),
		fmt.Sprintf("telltale_agent_readings_total{sensor=\"dev\"} %d\n", sampled.of("dev")),
		fmt.Sprintf("telltale_agent_readings_total{sensor=\"dev.second\"} %d\n", sampled.of("dev.second")),
		fmt.Sprintf("telltale_agent_readings_total{sensor=\"dev.third\"} %d\n", sampled.of("dev.third")),
		"telltale_agent_mqtt_connected 1\n",
	} {
		if !strings.Contains(string(body), line) {
			t.Errorf("/metrics lacks %q:\n%s", line, body)
		}
	}
	if want := "2 sensors, 1 fault (bmp280@1:0x77 nack), 0 readings buffered, broker connected"; a.Summary() != want {
		t.Errorf("Summary() is %q, want %q", a.Summary(), want)
	}
}

// The endpoint moves, even to an address that contains the old one, and stays
// where it is if it cannot.
func TestReloadMovesTheEndpoint(t *testing.T) {
	dir := t.TempDir()
	a := run(t, "127.0.0.1:1", dir, newBus(t), nil)
	eventually(t, "the endpoint listens", func() bool { return a.MetricsAddr() != "" })
	_, port, err := net.SplitHostPort(a.MetricsAddr())
	must(t, err)
	healthy := func(addr string) bool {
		client := http.Client{Timeout: patience}
		defer client.CloseIdleConnections()
		response, err := client.Get("http://" + addr + "/healthz")
		if err != nil {
			return false
		}
		return response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}
	moved := func(listen string) error {
		return a.Reload(loader(t, "127.0.0.1:0", listen, "DIR", dir, "ADDR", "127.0.0.1:1"))
	}
	must(t, moved("0.0.0.0:"+port))
	if !healthy("127.0.0.1:" + port) {
		t.Error("no answer after the move to all addresses")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	if err := moved(taken.Addr().String()); err == nil || !healthy("127.0.0.1:"+port) {
		t.Errorf("move to an address in use: %v; want it refused, and the old one answering", err)
	}
	if !strings.HasSuffix(a.Summary(), ", latest configuration refused") {
		t.Errorf("Summary() is %q", a.Summary())
	}
	must(t, moved(""))
	if healthy("127.0.0.1:"+port) || a.MetricsAddr() != "" {
		t.Errorf("the endpoint is at %q, want none", a.MetricsAddr())
	}
	must(t, moved("127.0.0.1:"+port))
	if !healthy("127.0.0.1:" + port) {
		t.Error("no answer after the move back")
	}
}

// TestReloadSecuresTheEndpoint gives an endpoint TLS and a token while the agent
// runs, and then files that are wrong.
func TestReloadSecuresTheEndpoint(t *testing.T) {
	end := time.Now().Add(time.Hour)
	root := certificatetest.Authority(t, end)
	pair := root.Issue(t, "127.0.0.1", end)
	dir := t.TempDir()
	for name, data := range map[string][]byte{"cert": pair.PEM(), "key": pair.KeyPEM(t), "token": []byte("0123456789abcdef\n")} {
		certificatetest.Write(t, filepath.Join(dir, name), data)
	}
	a := run(t, "127.0.0.1:1", filepath.Join(dir, "buffer"), newBus(t), nil)
	eventually(t, "the endpoint listens", func() bool { return a.MetricsAddr() != "" })
	secure := func(cert string) error {
		return a.Reload(loader(t, `listen: "127.0.0.1:0"`, `listen: "127.0.0.1:0", tls: {cert_file: `+filepath.Join(dir, cert)+", key_file: "+
			filepath.Join(dir, "key")+"}, auth: {bearer_token_file: "+filepath.Join(dir, "token")+"}", "DIR", filepath.Join(dir, "buffer"), "ADDR", "127.0.0.1:1"))
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: root.Pool()}}}
	get := func(authorization string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+a.MetricsAddr()+"/metrics", nil)
		must(t, err)
		request.Header.Set("Authorization", authorization)
		response, err := client.Do(request)
		must(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		must(t, err)
		return response.StatusCode, string(body)
	}
	must(t, secure("cert"))
	if code, body := get("Bearer guess"); code != http.StatusUnauthorized || body != "unauthorized\n" {
		t.Errorf("with a wrong token: %d %q", code, body)
	}
	code, body := get("Bearer 0123456789abcdef")
	if code != http.StatusOK || !strings.Contains(body, `telltale_agent_endpoint_refused_total{reason="unauthorized"} 1`+"\n") ||
		!strings.Contains(body, `telltale_agent_certificate_expiry_timestamp_seconds{use="metrics_server"} `+strconv.FormatInt(pair.NotAfter.Unix(), 10)+"\n") {
		t.Errorf("with the token: %d\n%s", code, body)
	}
	if err := secure("none"); err == nil || !strings.Contains(err.Error(), "metrics.tls: certificate: open "+filepath.Join(dir, "none")) {
		t.Errorf("no certificate: %v", err)
	}
	if code, _ := get("Bearer 0123456789abcdef"); code != http.StatusOK {
		t.Errorf("after that: %d", code)
	}
	if err := endpoint.Ask(t.Context(), endpoint.Config{Listen: a.MetricsAddr(), TLS: endpoint.TLS{CertFile: filepath.Join(dir, "cert")}}, endpoint.Health); err != nil {
		t.Errorf("health: %v", err)
	}
}

func TestReloadAfterTheEnd(t *testing.T) {
	dir := t.TempDir()
	a := run(t, "127.0.0.1:1", dir, newBus(t), nil)
	a.StopSampling()
	must(t, a.Reload(loader(t, "250ms\n    chips", "20ms\n    chips", "DIR", dir, "ADDR", "127.0.0.1:1")))
	n := a.Stats().Sampled
	a.stop()
	if got := a.Stats().Sampled; got != n {
		t.Errorf("%d readings, then %d: a reload has begun sampling again", n, got)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Reload(loader(t, "DIR", dir, "ADDR", "127.0.0.1:1")) }()
	select {
	case err := <-ended:
		if !errors.Is(err, agent.ErrEnded) {
			t.Errorf("Reload: %v, want %v", err, agent.ErrEnded)
		}
	case <-time.After(patience):
		t.Error("Reload does not return")
	}
}
