package timeseries

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// record is what the topic holds. Its values are in the units of the wire, and
// a measure that could not be read is absent.
type record struct {
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Timestamp  int64              `json:"timestamp"` // of the reading, Unix milliseconds
	Dimensions dimensions         `json:"dimensions"`
	Values     map[string]float64 `json:"values"` // by measure
}

type dimensions struct {
	SensorID   string `json:"sensor_id"`
	SensorName string `json:"sensor_name"`
	PlaceID    string `json:"place_id"`
}

// encoder makes records of frames.
type encoder struct{ buf bytes.Buffer }

// encode returns the record of a frame, good until the next call.
func (e *encoder) encode(f *telemetry.Frame) ([]byte, error) {
	r := record{
		Name: "sample_sensor_metric", Type: "sensor", Timestamp: f.Timestamp,
		Dimensions: dimensions{SensorID: f.ID, SensorName: f.Name, PlaceID: f.PlaceID},
		Values:     map[string]float64{},
	}
	for m := range telemetry.Measure(telemetry.Measures) {
		if v, ok := f.Payload.Get(m); ok {
			r.Values[m.String()] = v.Float()
		}
	}
	e.buf.Reset()
	text := json.NewEncoder(&e.buf)
	text.SetEscapeHTML(false)
	if err := text.Encode(r); err != nil {
		return nil, fmt.Errorf("encode the record of %s at %d: %w", f.ID, f.Timestamp, err)
	}
	return bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")), nil
}
