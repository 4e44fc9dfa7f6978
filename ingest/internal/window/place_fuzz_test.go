package window

import (
	"encoding/json"
	"testing"
)

const goldenPart = `{"sensor_id":"s","start_agg_tm":0,"end_agg_tm":10000,"revision":2,"missing":1,"lost":2,"place_id":"p","sensor_name":"n",` +
	`"count_measures":3,"first_tm":2000,"last_tm":7000,"temperature":{"count":2,"sum":"-3","squares":"5","min":-2,"max":-1}}`

// FuzzPart: any record of a sensor's part in a place is refused and changes
// nothing, or is in the place's window once, which can be written as JSON.
func FuzzPart(f *testing.F) {
	f.Add([]byte(goldenPart))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"sensor_id":"s","revision":1,"missing":-9223372036854775808,"count_measures":-1}`))
	f.Add([]byte(`{"sensor_id":"s","revision":1,"count_measures":1,"temperature":{"count":9223372036854775807,"sum":"170141183460469231731687303715884105727"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var part Part
		if json.Unmarshal(data, &part) != nil {
			return
		}
		w := NewPlace(part.Place, part.Interval())
		changed, err := w.Apply(&part)
		if err != nil {
			if changed || w.Changed() || len(w.sensors) != 0 {
				t.Fatalf("refused, and changed: %v", err)
			}
			return
		}
		if !changed || !w.Changed() || len(w.sensors) != 1 {
			t.Fatalf("taken, and not changed: %s", data)
		}
		if changed, err := w.Apply(&part); changed || err != nil {
			t.Fatalf("a second time: changed %t, %v", changed, err)
		}
		if _, err := json.Marshal(w.Document(1)); err != nil {
			t.Fatal(err)
		}
	})
}
