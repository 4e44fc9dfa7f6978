package remotewrite

import (
	"cmp"
	"slices"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"

	"github.com/telltale-iot/telltale/ingest/internal/prom"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// batch is the samples that are sent at once, by series.
type batch struct {
	metrics []prom.Metric
	index   map[labels][]*prompb.TimeSeries // by metric; nil where there is no sample
	series  []*prompb.TimeSeries            // all of them, a sensor's beside each other
	samples int
}

// labels are what tells the series of one metric apart.
type labels struct{ sensor, name, place string }

func newBatch() batch {
	return batch{metrics: prom.SensorMetrics(), index: map[labels][]*prompb.TimeSeries{}}
}

// add takes in the samples of a frame.
func (b *batch) add(f *telemetry.Frame) {
	l := labels{f.ID, f.Name, f.PlaceID}
	known := b.index[l]
	if known == nil {
		known = make([]*prompb.TimeSeries, len(b.metrics))
		b.index[l] = known
	}
	for i, metric := range b.metrics {
		v, ok := metric.Of(f)
		if !ok {
			continue
		}
		if known[i] == nil {
			known[i] = &prompb.TimeSeries{Labels: l.of(metric.Name)}
			b.series = append(b.series, known[i])
		}
		known[i].Samples = append(known[i].Samples, &prompb.Sample{Value: v, Timestamp: f.Timestamp})
		b.samples++
	}
}

// of returns the labels of a metric's series: sorted by name, and without those
// that are empty, as the specification wants them.
func (l labels) of(metric string) []*prompb.Label {
	all := []*prompb.Label{
		{Name: "__name__", Value: metric},
		{Name: prom.LabelPlaceID, Value: l.place},
		{Name: prom.LabelSensorID, Value: l.sensor},
		{Name: prom.LabelSensorName, Value: l.name},
	}
	return slices.DeleteFunc(all, func(l *prompb.Label) bool { return l.Value == "" })
}

// sort puts the samples of each series in the order of their timestamps, and
// those of one timestamp in the order in which they came.
func (b *batch) sort() {
	for _, s := range b.series {
		slices.SortStableFunc(s.Samples, func(x, y *prompb.Sample) int { return cmp.Compare(x.Timestamp, y.Timestamp) })
	}
}

func (b *batch) reset() {
	clear(b.index)
	clear(b.series)
	b.series, b.samples = b.series[:0], 0
}
