package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/segmentio/kafka-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

const topic = "iot-frames"

// Sources says where the readings are.
type Sources struct {
	Brokers  []string // of Kafka
	MongoURI string
	Database string
}

// Read reads all of it. Errors of the servers are returned as they are; so is
// anything stored that has not the form it should have.
func Read(ctx context.Context, s Sources) (*Stored, error) {
	stored := &Stored{Kafka: make(map[Key]telemetry.Frame)}
	if err := stored.readKafka(ctx, s.Brokers); err != nil {
		return nil, fmt.Errorf("verify: kafka: %w", err)
	}
	if err := stored.readMongo(ctx, s); err != nil {
		return nil, fmt.Errorf("verify: mongo: %w", err)
	}
	return stored, nil
}

func (s *Stored) readKafka(ctx context.Context, brokers []string) error {
	client := &kafka.Client{Addr: kafka.TCP(brokers...)}
	metadata, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	var decoder telemetry.Decoder
	for _, t := range metadata.Topics {
		if t.Error != nil {
			return fmt.Errorf("%s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			if err := s.readPartition(ctx, brokers[0], p.ID, &decoder); err != nil {
				return fmt.Errorf("%s/%d: %w", topic, p.ID, err)
			}
		}
	}
	return nil
}

func (s *Stored) readPartition(ctx context.Context, broker string, partition int, decoder *telemetry.Decoder) error {
	conn, err := kafka.DialLeader(ctx, "tcp", broker, topic, partition)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it only reads
	first, end, err := conn.ReadOffsets()
	if err != nil || first == end {
		return err
	}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{broker}, Topic: topic, Partition: partition,
		MinBytes: 1, MaxBytes: 10 << 20, MaxWait: 100 * time.Millisecond,
	})
	defer func() { _ = reader.Close() }()
	if err := reader.SetOffset(first); err != nil {
		return err
	}
	for offset := first; offset < end; {
		record, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		offset = record.Offset + 1
		var f telemetry.Frame
		if err := decoder.Decode(record.Value, &f); err != nil {
			return fmt.Errorf("offset %d: %w", record.Offset, err)
		}
		if f.IsLoss() {
			continue
		}
		key := KeyOf(&f)
		if _, ok := s.Kafka[key]; ok {
			s.Redelivered++
		}
		s.Kafka[key] = f
	}
	return nil
}

func (s *Stored) readMongo(ctx context.Context, from Sources) (err error) {
	client, err := mongo.Connect(options.Client().ApplyURI(from.MongoURI))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Disconnect(context.WithoutCancel(ctx))) }()
	database := client.Database(from.Database)
	return errors.Join(
		each(ctx, database.Collection("iot_frames"), func(d *frameDocument) error {
			f, err := d.frame()
			s.Frames = append(s.Frames, f)
			return err
		}),
		each(ctx, database.Collection("iot_losses"), func(d *lossDocument) error {
			s.Losses = append(s.Losses, d.frame())
			return nil
		}),
		each(ctx, database.Collection("iot_aggregate_metrics_sensor"), func(d *windowDocument) error {
			s.Sensors = append(s.Sensors, d.window(d.Sensor))
			return nil
		}),
		each(ctx, database.Collection("iot_aggregate_metrics_place"), func(d *windowDocument) error {
			s.Places = append(s.Places, d.window(d.Place))
			return nil
		}),
	)
}

// each calls f for every document of the collection.
func each[D any](ctx context.Context, collection *mongo.Collection, f func(*D) error) (err error) {
	cursor, err := collection.Find(ctx, bson.D{})
	if err != nil {
		return fmt.Errorf("%s: %w", collection.Name(), err)
	}
	defer func() { err = errors.Join(err, cursor.Close(ctx)) }()
	for cursor.Next(ctx) {
		var d D
		if err := cursor.Decode(&d); err != nil {
			return fmt.Errorf("%s: %w", collection.Name(), err)
		}
		if err := f(&d); err != nil {
			return fmt.Errorf("%s: %w", collection.Name(), err)
		}
	}
	if err := cursor.Err(); err != nil {
		return fmt.Errorf("%s: %w", collection.Name(), err)
	}
	return nil
}

type frameDocument struct {
	ID        string             `bson:"id"`
	Name      string             `bson:"name"`
	PlaceID   string             `bson:"place_id"`
	Timestamp int64              `bson:"timestamp"`
	Date      time.Time          `bson:"date"`
	Epoch     *int64             `bson:"epoch"`
	Seq       *int64             `bson:"seq"`
	Payload   map[string]float64 `bson:"payload"`
	Faults    map[string]string  `bson:"faults"`
	Clock     string             `bson:"clock"`
}

func (d *frameDocument) frame() (telemetry.Frame, error) {
	f := telemetry.Frame{ID: d.ID, Name: d.Name, PlaceID: d.PlaceID, Timestamp: d.Timestamp, Clock: telemetry.Clock(d.Clock)}
	if d.Epoch != nil && d.Seq != nil {
		f.Sequenced, f.Epoch, f.Seq = true, uint64(*d.Epoch), uint64(*d.Seq)
	}
	if d.Date.UnixMilli() != d.Timestamp {
		return f, fmt.Errorf("%s: date %s is not timestamp %d", KeyOf(&f), d.Date, d.Timestamp)
	}
	for m := range telemetry.Measure(telemetry.Measures) {
		if v, ok := d.Payload[m.String()]; ok {
			f.Payload.Set(m, telemetry.Micro(math.Round(v*1e6)))
		}
		f.Faults[m] = d.Faults[m.String()]
	}
	return f, nil
}

type lossDocument struct {
	ID     string `bson:"id"`
	Epoch  int64  `bson:"epoch"`
	First  int64  `bson:"first"`
	Last   int64  `bson:"last"`
	Reason string `bson:"reason"`
}

func (d *lossDocument) frame() telemetry.Frame {
	return telemetry.Frame{ID: d.ID, Sequenced: true, Epoch: uint64(d.Epoch), Lost: telemetry.Loss{
		Seqs: telemetry.SeqRange{First: uint64(d.First), Last: uint64(d.Last)}, Reason: d.Reason,
	}}
}

type windowDocument struct {
	DocumentID string `bson:"_id"`
	Sensor     string `bson:"sensor_id"`
	Place      string `bson:"place_id"`
	Start      int64  `bson:"start_agg_tm"`
	Count      int64  `bson:"count_measures"`
	Coverage   []struct {
		Epoch *int64 `bson:"epoch"`
		Seqs  []struct {
			First int64 `bson:"first"`
			Last  int64 `bson:"last"`
		} `bson:"seq"`
		Timestamps []int64 `bson:"timestamps"`
	} `bson:"coverage"`
	Fields map[string]any `bson:",inline"`
}

func (d *windowDocument) window(owner string) Window {
	w := Window{ID: d.DocumentID, Owner: owner, Start: d.Start, Count: uint64(d.Count)}
	for m := range telemetry.Measure(telemetry.Measures) {
		number := func(name string) float64 {
			v, _ := d.Fields[name+"_"+m.String()].(float64)
			return v
		}
		count, _ := d.Fields["count_"+m.String()].(int64)
		w.Measures[m] = Aggregate{Count: uint64(count), Sum: number("sum"), Avg: number("avg"), Min: number("min"), Max: number("max")}
	}
	for _, c := range d.Coverage {
		for _, t := range c.Timestamps {
			w.Coverage = append(w.Coverage, Key{ID: owner, Timestamp: t})
		}
		if c.Epoch == nil {
			continue
		}
		for _, seqs := range c.Seqs {
			for seq := seqs.First; seq <= seqs.Last; seq++ {
				w.Coverage = append(w.Coverage, Key{ID: owner, Epoch: uint64(*c.Epoch), Seq: uint64(seq)})
			}
		}
	}
	return w
}
