package verify_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

// TestExpect holds the oracle to windows that are worked out by hand.
func TestExpect(t *testing.T) {
	frame := func(id, name, place string, at int64, seq uint64, temperature float64) telemetry.Frame {
		f := telemetry.Frame{ID: id, Name: name, PlaceID: place, Timestamp: start + at, Sequenced: true, Epoch: epoch, Seq: seq}
		f.Payload.Set(telemetry.Temperature, telemetry.Micro(temperature*1e6))
		return f
	}
	seed := telemetry.Frame{ID: "old", Name: "Old", PlaceID: "p", Timestamp: start + 5}
	frames := []telemetry.Frame{
		frame("a", "Ann", "q", 3000, 12, 4), // moved, and renamed
		frame("a", "A", "p", 1000, 3, 1),
		frame("a", "A", "p", 2000, 5, 3),
		frame("a", "A", "p", -1, 2, 100), // of the window before
		seed,
	}
	losses := []verify.Loss{
		{ID: "a", Epoch: epoch, First: 0, Last: 7, Reason: "buffer_full"},
		{ID: "a", Epoch: epoch, First: 7, Last: 8, Reason: "corrupt"}, // shorter: it names 7
		{ID: "a", Epoch: epoch, First: 10, Last: 99, Reason: "buffer_full"},
		{ID: "a", Epoch: epoch + 1, First: 0, Last: 99, Reason: "other_epoch"},
		{ID: "b", Epoch: epoch, First: 0, Last: 99, Reason: "other_sensor"},
	}
	sensors, places := verify.Expect(frames, losses, window)

	const bounds = "1763870400000-1763870410000"
	interval := verify.Document{
		"start_agg": time.UnixMilli(start).UTC(), "end_agg": time.UnixMilli(start + 10_000).UTC(),
		"start_agg_tm": start, "end_agg_tm": start + 10_000,
	}
	gap := func(first, last int64, reason string) verify.Document {
		d := verify.Document{"epoch": int64(epoch), "first": first, "last": last}
		if reason != "" {
			d["reason"] = reason
		}
		return d
	}
	with := func(more verify.Document) verify.Document {
		for name, v := range interval {
			more[name] = v
		}
		return more
	}
	want := with(verify.Document{
		"_id": "a/" + bounds, "sensor_id": "a", "sensor_name": "Ann",
		"count_measures": int64(3), "first_tm": start + 1000, "last_tm": start + 3000,
		"count_temperature": int64(3), "sum_temperature": 8.0, "avg_temperature": 8.0 / 3, "min_temperature": 1.0, "max_temperature": 4.0,
		"stddev_temperature": math.Sqrt(14.0 / 9), // of 1, 3 and 4
		"state":              "gaps", "expected": int64(10), "missing": int64(1), "lost": int64(6),
		"missing_ranges": []any{gap(9, 9, "")},
		"lost_ranges":    []any{gap(4, 4, "buffer_full"), gap(6, 6, "buffer_full"), gap(7, 8, "corrupt"), gap(10, 11, "buffer_full")},
		"epochs":         []any{gap(3, 12, "")},
		"coverage": []any{verify.Document{"epoch": int64(epoch), "seq": []any{
			verify.Document{"first": int64(3), "last": int64(3)},
			verify.Document{"first": int64(5), "last": int64(5)},
			verify.Document{"first": int64(12), "last": int64(12)},
		}}},
		"parts": []any{
			verify.Document{
				"place_id": "p", "sensor_name": "A", "count_measures": int64(2), "first_tm": start + 1000, "last_tm": start + 2000,
				"temperature": verify.Document{"count": int64(2), "sum": "4000000", "squares": "10000000000000", "min": int64(1e6), "max": int64(3e6)},
			},
			verify.Document{
				"place_id": "q", "sensor_name": "Ann", "count_measures": int64(1), "first_tm": start + 3000, "last_tm": start + 3000,
				"temperature": verify.Document{"count": int64(1), "sum": "4000000", "squares": "16000000000000", "min": int64(4e6), "max": int64(4e6)},
			},
		},
	})
	if diff := cmp.Diff(want, sensors["a/"+bounds]); diff != "" {
		t.Errorf("the sensor's window (-want +got):\n%s", diff)
	}
	want = with(verify.Document{
		"_id": "old/" + bounds, "sensor_id": "old", "sensor_name": "Old",
		"count_measures": int64(1), "first_tm": start + 5, "last_tm": start + 5,
		"state": "unknown", "expected": nil, "missing": nil, "lost": int64(0), "missing_ranges": []any{}, "lost_ranges": []any{},
		"epochs":   []any{},
		"coverage": []any{verify.Document{"timestamps": []any{start + 5}}},
		"parts":    []any{verify.Document{"place_id": "p", "sensor_name": "Old", "count_measures": int64(1), "first_tm": start + 5, "last_tm": start + 5}},
	})
	if diff := cmp.Diff(want, sensors["old/"+bounds]); diff != "" {
		t.Errorf("the window of a sensor without seq (-want +got):\n%s", diff)
	}
	want = with(verify.Document{
		"_id": "p/" + bounds, "place_id": "p", "count_sensors": int64(2), "sensors": []any{"a", "old"},
		"count_measures": int64(3), "first_tm": start + 5, "last_tm": start + 2000,
		"count_temperature": int64(2), "sum_temperature": 4.0, "avg_temperature": 2.0, "min_temperature": 1.0, "max_temperature": 3.0, "stddev_temperature": 1.0,
		"state": "unknown", "missing": nil, "lost": int64(6),
	})
	if diff := cmp.Diff(want, places["p/"+bounds]); diff != "" {
		t.Errorf("the place's window (-want +got):\n%s", diff)
	}
	if q := places["q/"+bounds]; q["state"] != "gaps" || q["missing"] != int64(1) || q["lost"] != int64(6) || q["count_sensors"] != int64(1) {
		t.Errorf("the other place's window: %v", q)
	}
	if len(sensors) != 3 || len(places) != 3 {
		t.Errorf("%d windows of sensors and %d of places, want 3 and 3", len(sensors), len(places))
	}
}
