// Package timeseries writes, for every frame, the record that the replaced
// system made for its Prometheus connector, to the topic iot-metrics-time-series.
// Its form is that of the connector's input: a name, a type, a timestamp, and
// dimensions and values by their names.
//
// A record is written, and then the frame's offset committed: each frame has its
// record at least once. One call of Frames owns one partition.
package timeseries
