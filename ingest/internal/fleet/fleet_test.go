package fleet

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

const now = int64(1_763_870_400_000) // Unix milliseconds

func newFleet(t testing.TB, maxDevices int) *Fleet {
	t.Helper()
	f, err := New(Options{MaxDevices: maxDevices, Now: func() time.Time { return time.UnixMilli(now) }})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func expect(t *testing.T, f *Fleet, want string, metrics ...string) {
	t.Helper()
	if err := testutil.CollectAndCompare(f, strings.NewReader(want), metrics...); err != nil {
		t.Error(err)
	}
}

// example returns the status that the agent's README shows.
func example(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("../../../agent/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)## Status topic.*?```json\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatal("the agent's README shows no status")
	}
	return found[1]
}

func TestTheDocumentedStatusIsShown(t *testing.T) {
	f := newFleet(t, 10)
	f.Handle("telltale/v1/pi-1/status", example(t), false)
	expect(t, f, `
# HELP telltale_device_buffer_capacity_bytes For how many of those there is room at least before some are dropped.
# TYPE telltale_device_buffer_capacity_bytes gauge
telltale_device_buffer_capacity_bytes{device="pi-1"} 2.60046848e+08
# HELP telltale_device_buffer_fault Always 1; the reason is why readings of the device go to memory.
# TYPE telltale_device_buffer_fault gauge
telltale_device_buffer_fault{device="pi-1",reason="disk_full"} 1
# HELP telltale_device_buffer_frames Readings that wait in the device's buffer for their receipt.
# TYPE telltale_device_buffer_frames gauge
telltale_device_buffer_frames{device="pi-1"} 12
# HELP telltale_device_buffer_memory_frames Of those, the ones that are in memory, as the disk fails.
# TYPE telltale_device_buffer_memory_frames gauge
telltale_device_buffer_memory_frames{device="pi-1"} 7
# HELP telltale_device_buffer_oldest_timestamp_seconds Unix time of the oldest reading in the device's buffer. Absent if there is none.
# TYPE telltale_device_buffer_oldest_timestamp_seconds gauge
telltale_device_buffer_oldest_timestamp_seconds{device="pi-1"} 1.763870400123e+09
# HELP telltale_device_buffer_size_bytes All files of the device's buffer.
# TYPE telltale_device_buffer_size_bytes gauge
telltale_device_buffer_size_bytes{device="pi-1"} 4.194304e+06
# HELP telltale_device_buffer_used_bytes Readings in the device's buffer that have no receipt.
# TYPE telltale_device_buffer_used_bytes gauge
telltale_device_buffer_used_bytes{device="pi-1"} 2604
# HELP telltale_device_certificate_expiry_timestamp_seconds Unix time at which the device's certificate ends.
# TYPE telltale_device_certificate_expiry_timestamp_seconds gauge
telltale_device_certificate_expiry_timestamp_seconds{device="pi-1"} 1.79568e+09
# HELP telltale_device_chip_fault Always 1; one series for each chip whose latest reading failed, and why.
# TYPE telltale_device_chip_fault gauge
telltale_device_chip_fault{chip="bme280@1:0x76",device="pi-1",driver="bme280",reason="nack"} 1
# HELP telltale_device_clock_state 1 for the state that the device's clock is in, 0 for the others.
# TYPE telltale_device_clock_state gauge
telltale_device_clock_state{device="pi-1",state="holdover"} 0
telltale_device_clock_state{device="pi-1",state="synced"} 1
telltale_device_clock_state{device="pi-1",state="unsynced"} 0
# HELP telltale_device_info Always 1; the version is the agent's.
# TYPE telltale_device_info gauge
telltale_device_info{device="pi-1",version="v1.2.0"} 1
# HELP telltale_device_online Whether the device's status says that it is online.
# TYPE telltale_device_online gauge
telltale_device_online{device="pi-1"} 1
# HELP telltale_device_readings_lost_total Readings that the agent has declared lost since it was started, by reason.
# TYPE telltale_device_readings_lost_total counter
telltale_device_readings_lost_total{device="pi-1",reason="buffer_full"} 40
telltale_device_readings_lost_total{device="pi-1",reason="corrupt"} 0
telltale_device_readings_lost_total{device="pi-1",reason="disk_error"} 0
telltale_device_readings_lost_total{device="pi-1",reason="power_cut"} 0
# HELP telltale_device_readings_total Readings that the agent has sampled since it was started.
# TYPE telltale_device_readings_total counter
telltale_device_readings_total{device="pi-1"} 86400
# HELP telltale_device_status_timestamp_seconds Unix time of the device's latest status. Absent if the broker had kept it and it does not tell.
# TYPE telltale_device_status_timestamp_seconds gauge
telltale_device_status_timestamp_seconds{device="pi-1"} 1.7638704e+09
# HELP telltale_device_uptime_seconds How long the agent had run at its latest status.
# TYPE telltale_device_uptime_seconds gauge
telltale_device_uptime_seconds{device="pi-1"} 86400
# HELP telltale_fleet_devices Devices whose status is known.
# TYPE telltale_fleet_devices gauge
telltale_fleet_devices 1
# HELP telltale_fleet_devices_limit Devices that are shown at most.
# TYPE telltale_fleet_devices_limit gauge
telltale_fleet_devices_limit 10
# HELP telltale_fleet_statuses_refused_total Messages on the status topics of devices that are not shown, by reason.
# TYPE telltale_fleet_statuses_refused_total counter
telltale_fleet_statuses_refused_total{reason="bad_topic"} 0
telltale_fleet_statuses_refused_total{reason="bad_value"} 0
telltale_fleet_statuses_refused_total{reason="not_json"} 0
telltale_fleet_statuses_refused_total{reason="too_large"} 0
telltale_fleet_statuses_refused_total{reason="too_many_devices"} 0
# HELP telltale_fleet_statuses_total Messages on the status topics of devices.
# TYPE telltale_fleet_statuses_total counter
telltale_fleet_statuses_total 1
`)
	if problems, err := testutil.CollectAndLint(f); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// A will has little in it, and the device's own words of before do not hold any
// more. What is retained is as old as it says.
func TestADeviceGoesAndIsForgotten(t *testing.T) {
	f := newFleet(t, 10)
	const topic = "telltale/v1/pi-1/status"
	f.Handle(topic, []byte(`{"state":"online","version":"v1","timestamp":1763870399000,"certificate_expires":1790000000,"clock":"leaping"}`), true)
	expect(t, f, `
# HELP telltale_device_certificate_expiry_timestamp_seconds Unix time at which the device's certificate ends.
# TYPE telltale_device_certificate_expiry_timestamp_seconds gauge
telltale_device_certificate_expiry_timestamp_seconds{device="pi-1"} 1.79e+09
# HELP telltale_device_clock_state 1 for the state that the device's clock is in, 0 for the others.
# TYPE telltale_device_clock_state gauge
telltale_device_clock_state{device="pi-1",state="holdover"} 0
telltale_device_clock_state{device="pi-1",state="leaping"} 1
telltale_device_clock_state{device="pi-1",state="synced"} 0
telltale_device_clock_state{device="pi-1",state="unsynced"} 0
# HELP telltale_device_status_timestamp_seconds Unix time of the device's latest status. Absent if the broker had kept it and it does not tell.
# TYPE telltale_device_status_timestamp_seconds gauge
telltale_device_status_timestamp_seconds{device="pi-1"} 1.763870399e+09
`, "telltale_device_certificate_expiry_timestamp_seconds", "telltale_device_clock_state", "telltale_device_status_timestamp_seconds")

	f.Handle(topic, []byte(`{"state":"offline","reason":"connection_lost","version":"v1"}`), false)
	shown := []string{"telltale_device_online", "telltale_device_status_timestamp_seconds", "telltale_device_clock_state", "telltale_device_uptime_seconds"}
	expect(t, f, `
# HELP telltale_device_online Whether the device's status says that it is online.
# TYPE telltale_device_online gauge
telltale_device_online{device="pi-1"} 0
# HELP telltale_device_status_timestamp_seconds Unix time of the device's latest status. Absent if the broker had kept it and it does not tell.
# TYPE telltale_device_status_timestamp_seconds gauge
telltale_device_status_timestamp_seconds{device="pi-1"} 1.7638704e+09
`, shown...)

	f.Handle(topic, []byte(`{"state":"offline","version":"v1"}`), true)
	expect(t, f, `
# HELP telltale_device_online Whether the device's status says that it is online.
# TYPE telltale_device_online gauge
telltale_device_online{device="pi-1"} 0
`, shown...)

	f.Handle(topic, nil, false)
	expect(t, f, "", shown...)
}

func TestStatusesThatAreRefused(t *testing.T) {
	const good = "telltale/v1/pi-1/status"
	chips := make([]string, maxChips+1)
	for i := range chips {
		chips[i] = `"chip` + strings.Repeat("x", i) + `":"nack"`
	}
	for name, tt := range map[string]struct {
		topic, payload, reason string
	}{
		"another kind of topic":   {"telltale/v1/pi-1/frames", `{"state":"online"}`, reasonTopic},
		"no valid device":         {"telltale/v1/pi.1/status", `{"state":"online"}`, reasonTopic},
		"too large":               {good, `{"state":"online","x":"` + strings.Repeat("x", MaxPayload) + `"}`, reasonTooLarge},
		"not JSON":                {good, `{"state":`, reasonNotJSON},
		"an array":                {good, `[]`, reasonNotJSON},
		"a number for text":       {good, `{"state":"online","version":1}`, reasonNotJSON},
		"a fraction":              {good, `{"state":"online","uptime_s":1.5}`, reasonNotJSON},
		"null":                    {good, `null`, reasonValue},
		"no state":                {good, `{"version":"v1"}`, reasonValue},
		"another state":           {good, `{"state":"asleep"}`, reasonValue},
		"a long version":          {good, `{"state":"online","version":"` + strings.Repeat("v", maxText+1) + `"}`, reasonValue},
		"a clock that is prose":   {good, `{"state":"online","clock":"Not good"}`, reasonValue},
		"a negative number":       {good, `{"state":"online","readings":-1}`, reasonValue},
		"a number beyond 2^53":    {good, `{"state":"online","buffer":{"frames":9007199254740993}}`, reasonValue},
		"a fault that is prose":   {good, `{"state":"online","buffer":{"fault":"Disk full"}}`, reasonValue},
		"a chip without a name":   {good, `{"state":"online","faults":{"":"nack"}}`, reasonValue},
		"a chip without reason":   {good, `{"state":"online","faults":{"bme280":""}}`, reasonValue},
		"too many chips":          {good, `{"state":"online","faults":{` + strings.Join(chips, ",") + `}}`, reasonValue},
		"a loss that is negative": {good, `{"state":"online","losses":{"corrupt":-1}}`, reasonValue},
		"a loss without reason":   {good, `{"state":"online","losses":{"Too late":1}}`, reasonValue},
	} {
		f := newFleet(t, 10)
		f.Handle(tt.topic, []byte(tt.payload), false)
		if got := testutil.ToFloat64(f.refused.WithLabelValues(tt.reason)); got != 1 {
			t.Errorf("%s: %v refused as %s, want 1", name, got, tt.reason)
		}
		if n := testutil.CollectAndCount(f, "telltale_device_online"); n != 0 {
			t.Errorf("%s: %d devices are shown", name, n)
		}
	}
}

func TestTheNumberOfDevicesIsCapped(t *testing.T) {
	f := newFleet(t, 2)
	for _, device := range []string{"a", "b", "c", "a"} {
		f.Handle("telltale/v1/"+device+"/status", []byte(`{"state":"online"}`), false)
	}
	if n := testutil.CollectAndCount(f, "telltale_device_online"); n != 2 {
		t.Errorf("%d devices are shown, want 2", n)
	}
	if n := testutil.ToFloat64(f.refused.WithLabelValues(reasonDevices)); n != 1 {
		t.Errorf("%v refused, want that of c", n)
	}
	f.Handle("telltale/v1/a/status", nil, false)
	f.Handle("telltale/v1/c/status", []byte(`{"state":"online"}`), false)
	if n := testutil.ToFloat64(f.refused.WithLabelValues(reasonDevices)); n != 1 {
		t.Errorf("%v refused, though there is room", n)
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "MaxDevices") {
		t.Errorf("New returned %v", err)
	}
}

// FuzzHandle gives any bytes for a status: what is shown of them is what
// Prometheus takes, and is bounded.
func FuzzHandle(f *testing.F) {
	f.Add("telltale/v1/pi-1/status", example(f), false)
	f.Add("telltale/v1/pi-1/status", []byte(`{"state":"offline","reason":"connection_lost","version":"v1"}`), true)
	f.Add("telltale/v1/pi-1/status", []byte(`{"state":"online","faults":{"\u0000":"nack","x\"\\":"a"},"losses":{"a":1}}`), true)
	f.Fuzz(func(t *testing.T, topic string, payload []byte, retained bool) {
		fleet := newFleet(t, 3)
		fleet.Handle("telltale/v1/other/status", []byte(`{"state":"online"}`), false)
		fleet.Handle(topic, payload, retained)
		if n := testutil.CollectAndCount(fleet); n > 200 {
			t.Errorf("%d series of two devices", n)
		}
	})
}
