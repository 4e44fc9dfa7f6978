package agent_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
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
    interval: 100ms
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
		faster := []string{"interval: 100ms\n    chips:\n      - {driver: bme280", "interval: 10ms\n    chips:\n      - {driver: bme280",
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

func TestReloadAfterTheEnd(t *testing.T) {
	dir := t.TempDir()
	a := run(t, "127.0.0.1:1", dir, newBus(t), nil)
	a.StopSampling()
	must(t, a.Reload(loader(t, "100ms\n    chips", "20ms\n    chips", "DIR", dir, "ADDR", "127.0.0.1:1")))
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
