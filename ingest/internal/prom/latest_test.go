package prom_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/prom"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const start = int64(1_763_870_400_000) // Unix milliseconds

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newLatest(t *testing.T, maxSensors int) (*prom.Latest, *clock) {
	t.Helper()
	c := &clock{now: time.UnixMilli(start)}
	latest, err := prom.NewLatest(prom.Options{MaxSensors: maxSensors, StaleAfter: time.Minute, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return latest, c
}

func frame(id string, timestamp int64, values map[telemetry.Measure]telemetry.Micro) *telemetry.Frame {
	f := &telemetry.Frame{ID: id, Name: "The " + id, PlaceID: "house-2", Timestamp: timestamp}
	for m, v := range values {
		f.Payload.Set(m, v)
	}
	return f
}

func expect(t *testing.T, latest *prom.Latest, metric, want string) {
	t.Helper()
	if err := testutil.CollectAndCompare(latest, strings.NewReader(want), metric); err != nil {
		t.Error(err)
	}
}

func TestReadingsAreShownInBaseUnits(t *testing.T) {
	latest, _ := newLatest(t, 10)
	latest.Observe(frame("greenhouse-7", start, map[telemetry.Measure]telemetry.Micro{
		telemetry.Temperature: 21_370_000, telemetry.Humidity: 44_200_000,
		telemetry.Pressure: 1_013_250_000, telemetry.Luminosity: 312_500_000,
	}))
	want := `
# HELP telltale_illuminance_lux Latest illuminance of the sensor.
# TYPE telltale_illuminance_lux gauge
telltale_illuminance_lux{place_id="house-2",sensor_id="greenhouse-7",sensor_name="The greenhouse-7"} 312.5
# HELP telltale_metrics_frames_refused_total Frames not shown because their sensor is above the limit.
# TYPE telltale_metrics_frames_refused_total counter
telltale_metrics_frames_refused_total 0
# HELP telltale_metrics_sensors Sensors that the metrics role knows.
# TYPE telltale_metrics_sensors gauge
telltale_metrics_sensors 1
# HELP telltale_metrics_sensors_limit Sensors that the metrics role shows at most.
# TYPE telltale_metrics_sensors_limit gauge
telltale_metrics_sensors_limit 10
# HELP telltale_metrics_undecodable_total Records of iot-frames that are no frame.
# TYPE telltale_metrics_undecodable_total counter
telltale_metrics_undecodable_total 0
# HELP telltale_pressure_pascals Latest air pressure of the sensor.
# TYPE telltale_pressure_pascals gauge
telltale_pressure_pascals{place_id="house-2",sensor_id="greenhouse-7",sensor_name="The greenhouse-7"} 101325
# HELP telltale_reading_timestamp_seconds Unix time of the sensor's latest reading.
# TYPE telltale_reading_timestamp_seconds gauge
telltale_reading_timestamp_seconds{place_id="house-2",sensor_id="greenhouse-7",sensor_name="The greenhouse-7"} 1.7638704e+09
# HELP telltale_relative_humidity_ratio Latest relative humidity of the sensor, 0 to 1.
# TYPE telltale_relative_humidity_ratio gauge
telltale_relative_humidity_ratio{place_id="house-2",sensor_id="greenhouse-7",sensor_name="The greenhouse-7"} 0.442
# HELP telltale_temperature_celsius Latest temperature of the sensor.
# TYPE telltale_temperature_celsius gauge
telltale_temperature_celsius{place_id="house-2",sensor_id="greenhouse-7",sensor_name="The greenhouse-7"} 21.37
`
	if err := testutil.CollectAndCompare(latest, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(latest); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestOnlyTheNewestReadingIsShown(t *testing.T) {
	latest, _ := newLatest(t, 10)
	at := func(timestamp int64, v telemetry.Micro) *telemetry.Frame {
		return frame("a", timestamp, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: v})
	}
	latest.Observe(at(start, 2_000_000))
	latest.Observe(at(start-1, 1_000_000)) // late
	latest.Observe(&telemetry.Frame{ID: "a", Sequenced: true, Lost: telemetry.Loss{Reason: "power_cut"}})
	expect(t, latest, "telltale_temperature_celsius", `
# HELP telltale_temperature_celsius Latest temperature of the sensor.
# TYPE telltale_temperature_celsius gauge
telltale_temperature_celsius{place_id="house-2",sensor_id="a",sensor_name="The a"} 2
`)
	stuck := frame("a", start+1, nil)
	stuck.Faults = telemetry.Faults{telemetry.Temperature: "stuck", telemetry.Humidity: "nack"}
	latest.Observe(stuck)
	expect(t, latest, "telltale_reading_fault", `
# HELP telltale_reading_fault Always 1; one series for each measure that the sensor's latest reading lacks, and why.
# TYPE telltale_reading_fault gauge
telltale_reading_fault{measure="humidity",place_id="house-2",reason="nack",sensor_id="a",sensor_name="The a"} 1
telltale_reading_fault{measure="temperature",place_id="house-2",reason="stuck",sensor_id="a",sensor_name="The a"} 1
`)
	latest.Observe(frame("a", start+2, nil)) // a frame with faults alone has no value to show
	expect(t, latest, "telltale_temperature_celsius", "")
}

func TestASilentSensorDisappears(t *testing.T) {
	latest, c := newLatest(t, 10)
	latest.Observe(frame("a", start, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 0}))
	c.now = c.now.Add(time.Minute)
	if n := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); n != 1 {
		t.Errorf("%d series after exactly StaleAfter, want 1", n)
	}
	c.now = c.now.Add(time.Millisecond)
	if n := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); n != 0 {
		t.Errorf("%d series after more than StaleAfter, want none", n)
	}
	latest.Observe(frame("a", start, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 0}))
	if n := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); n != 0 {
		t.Errorf("%d series of a frame that was stale on arrival, want none", n)
	}
}

func TestSensorsAboveTheLimitAreCountedAndNotShown(t *testing.T) {
	latest, c := newLatest(t, 2)
	for _, id := range []string{"a", "b", "c", "c"} {
		latest.Observe(frame(id, start, map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 0}))
	}
	if n := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); n != 2 {
		t.Errorf("%d sensors shown, want 2", n)
	}
	expect(t, latest, "telltale_metrics_frames_refused_total", `
# HELP telltale_metrics_frames_refused_total Frames not shown because their sensor is above the limit.
# TYPE telltale_metrics_frames_refused_total counter
telltale_metrics_frames_refused_total 2
`)
	c.now = c.now.Add(2 * time.Minute)
	latest.Observe(frame("c", c.now.UnixMilli(), map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 0}))
	if n := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); n != 1 {
		t.Errorf("%d sensors shown once the others are stale, want the new one", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []prom.Options{{StaleAfter: time.Minute}, {MaxSensors: 1}, {MaxSensors: -1, StaleAfter: time.Minute}} {
		if _, err := prom.NewLatest(o); err == nil {
			t.Errorf("NewLatest(%+v) takes it, want an error", o)
		}
	}
}
