package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// PutFrames stores the frames that are not there yet. The answers are in the
// order of the frames: nil, sink.ErrDuplicate, or why this frame can never be
// stored. The error is of the whole, and passing: some may be stored.
func (c *Client) PutFrames(ctx context.Context, stored []sink.Frame) ([]error, error) {
	answers := make([]error, len(stored))
	writes, index := make([]write, 0, len(stored)), make([]int, 0, len(stored))
	for i := range stored {
		id := telemetry.FrameID(&stored[i].Frame)
		w, err := newWrite(id, 0, frameDocument(id, &stored[i]))
		if err != nil {
			answers[i] = err
			continue
		}
		writes, index = append(writes, w), append(index, i)
	}
	return answers, c.put(ctx, frames, writes, index, answers, sink.ErrDuplicate)
}

func frameDocument(id string, f *sink.Frame) bson.D {
	d := bson.D{
		{Key: "_id", Value: id}, {Key: "id", Value: f.ID}, {Key: "name", Value: f.Name}, {Key: "place_id", Value: f.PlaceID},
		{Key: "date", Value: time.UnixMilli(f.Timestamp).UTC()}, {Key: "timestamp", Value: f.Timestamp},
	}
	if f.Sequenced {
		d = append(d, bson.E{Key: "epoch", Value: int64(f.Epoch)}, bson.E{Key: "seq", Value: int64(f.Seq)})
	}
	faults := bson.D{}
	for m := range telemetry.Measure(telemetry.Measures) {
		if reason := f.Faults[m]; reason != "" {
			faults = append(faults, bson.E{Key: m.String(), Value: reason})
		}
	}
	d = append(d, bson.E{Key: "payload", Value: values(&f.Payload)})
	if !f.Raw.Empty() {
		d = append(d, bson.E{Key: "raw", Value: values(&f.Raw)})
	}
	if len(faults) > 0 {
		d = append(d, bson.E{Key: "faults", Value: faults})
	}
	if f.Clock != telemetry.ClockSynced {
		d = append(d, bson.E{Key: "clock", Value: string(f.Clock)})
	}
	if f.Device != "" {
		d = append(d, bson.E{Key: "device", Value: f.Device})
	}
	return d
}

func values(p *telemetry.Payload) bson.D {
	d := bson.D{}
	for m := range telemetry.Measure(telemetry.Measures) {
		if v, ok := p.Get(m); ok {
			d = append(d, bson.E{Key: m.String(), Value: v.Float()})
		}
	}
	return d
}
