//go:build integration

package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The frames of one backlog: 500 sensors at 50 places, 2000 readings of each in
// 35 minutes, which are seven windows of 5 minutes.
const (
	backlogSensors    = 500
	backlogPlaces     = 50
	backlogPartitions = 12
	backlogReadings   = 2000
	backlogInterval   = 1050 * time.Millisecond
	backlogWindow     = 5 * time.Minute
	backlogFrames     = backlogSensors * backlogReadings

	// batchRecords is how many records of one partition are in a record batch:
	// about what the bridge makes of the 2000 messages that it takes at once.
	batchRecords = 170
)

// generator makes backlogs, each in the time after the one before, and knows
// what is in the windows of them.
type generator struct {
	base     time.Time // the beginning of the first window
	readings int       // of each sensor, made so far
	ends     [backlogPartitions]int64
	sensors  [backlogPartitions]int64 // how many sensors a partition has
	open     map[time.Time]map[string]totals
}

// totals are what two systems are compared by.
type totals struct {
	Frames      int64   `json:"count_measures"`
	Temperature float64 `json:"sum_temperature"`
}

// newGenerator returns one whose first n backlogs are in the past.
func newGenerator(n int) *generator {
	base := time.Now().Add(-time.Duration(n+1) * backlogReadings * backlogInterval).Truncate(backlogWindow)
	return &generator{base: base, open: make(map[time.Time]map[string]totals)}
}

// batches are encoded record batches by partition.
type batches [backlogPartitions][][]byte

// make returns the next backlog, and the windows that it completes, by id. The
// last reading of each sensor is the first of a window, so that the sensor has
// passed the window before; the first backlog has one reading more for that.
func (g *generator) make(b *testing.B) (made batches, complete map[string]totals) {
	b.Helper()
	var records [backlogPartitions][]protocol.Record
	flush := func(p int) {
		set := protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(records[p]...)}
		var encoded bytes.Buffer
		if _, err := set.WriteTo(&encoded); err != nil {
			b.Fatal(err)
		}
		made[p] = append(made[p], encoded.Bytes())
		records[p] = records[p][:0]
	}
	partitions := make([]int, backlogPartitions)
	for p := range partitions {
		partitions[p] = p
	}
	type sensor struct {
		id, place string
		partition int
	}
	var sensors [backlogSensors]sensor
	g.sensors = [backlogPartitions]int64{}
	for s := range sensors {
		id := fmt.Sprintf("bench-%04d", s)
		p := kafka.Murmur2Balancer{Consistent: true}.Balance(kafka.Message{Key: []byte(id)}, partitions...)
		sensors[s] = sensor{id, fmt.Sprintf("house-%02d", s%backlogPlaces), p}
		g.sensors[p]++
	}
	last := g.readings + backlogReadings
	if g.readings == 0 {
		last++
	}
	var start time.Time
	received := time.Now()
	for ; g.readings < last; g.readings++ {
		n := g.readings
		at := g.base.Add(backlogInterval/2 + time.Duration(n)*backlogInterval)
		start = at.Truncate(backlogWindow)
		if g.open[start] == nil {
			g.open[start] = make(map[string]totals)
		}
		for s, of := range sensors {
			f := telemetry.Frame{ID: of.id, Name: "Bench " + of.id, PlaceID: of.place, Timestamp: at.UnixMilli(), Sequenced: true, Epoch: 5577006791947779, Seq: uint64(n)}
			temperature := telemetry.Micro(21_370_000 + 10_000*((n+7*s)%500))
			f.Payload.Set(telemetry.Temperature, temperature)
			f.Payload.Set(telemetry.Humidity, telemetry.Micro(44_200_000+10_000*(n%300)))
			f.Payload.Set(telemetry.Pressure, telemetry.Micro(1_013_250_000+100_000*(s%100)))
			f.Payload.Set(telemetry.Luminosity, 312_500_000)
			for _, owner := range []string{of.id, of.place} {
				w := g.open[start][owner]
				g.open[start][owner] = totals{w.Frames + 1, w.Temperature + temperature.Float()}
			}
			records[of.partition] = append(records[of.partition], protocol.Record{
				Time: received, Key: protocol.NewBytes([]byte(of.id)), Value: protocol.NewBytes(telemetry.AppendFrame(nil, &f)),
				Headers: []protocol.Header{{Key: "device", Value: []byte(of.id)}},
			})
			g.ends[of.partition]++
			if len(records[of.partition]) == batchRecords {
				flush(of.partition)
			}
		}
	}
	complete = make(map[string]totals)
	for at, windows := range g.open {
		if at.Equal(start) {
			continue
		}
		for owner, w := range windows {
			complete[fmt.Sprintf("%s/%d-%d", owner, at.UnixMilli(), at.Add(backlogWindow).UnixMilli())] = w
		}
	}
	maps.DeleteFunc(g.open, func(at time.Time, _ map[string]totals) bool { return !at.Equal(start) })
	for p := range records {
		if len(records[p]) > 0 {
			flush(p)
		}
	}
	return made, complete
}

// load writes the batches to the topic of frames, one of each partition at a time.
func (made *batches) load(b *testing.B, client *kafka.Client) {
	b.Helper()
	for i := 0; ; i++ {
		topic := rawproduce.RequestTopic{Topic: framesTopic}
		for p := range made {
			if i < len(made[p]) {
				partition := rawproduce.RequestPartition{Partition: int32(p)}
				partition.RecordSet.Reader = bytes.NewReader(made[p][i])
				topic.Partitions = append(topic.Partitions, partition)
			}
		}
		if len(topic.Partitions) == 0 {
			return
		}
		answer, err := client.Transport.RoundTrip(b.Context(), client.Addr, &rawproduce.Request{
			Acks: int16(kafka.RequireAll), Timeout: 10_000, Topics: []rawproduce.RequestTopic{topic},
		})
		if err != nil {
			b.Fatalf("loading the backlog: %v", err)
		}
		for _, t := range answer.(*produce.Response).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					b.Fatalf("loading the backlog, partition %d: %v", p.Partition, kafka.Error(p.ErrorCode))
				}
			}
		}
	}
}
