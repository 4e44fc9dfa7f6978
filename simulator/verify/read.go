package verify

import (
	"bytes"
	"context"
	"encoding/json"
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

// The topics.
const (
	framesTopic  = "iot-frames"
	sensorsTopic = "iot-aggregate-metrics-sensor"
	placesTopic  = "iot-aggregate-metrics-place"
)

// Sources says where the readings are.
type Sources struct {
	Brokers  []string      // of Kafka
	Kafka    *kafka.Dialer // its TLS and SASL say how to reach them; nil is without either
	MongoURI string
	Database string
}

// Read reads all of it. Errors of the servers are returned as they are; so is
// anything stored that has not the form it should have.
func Read(ctx context.Context, s Sources) (*Stored, error) {
	stored := &Stored{Kafka: make(map[Key]telemetry.Frame), Received: make(map[Key]int64), Declared: make(map[Loss]bool)}
	var decoder telemetry.Decoder
	if err := s.eachRecord(ctx, framesTopic, func(r *kafka.Message) error {
		stored.frame(&decoder, r)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("verify: kafka: %w", err)
	}
	// Documents before records: what is stored in between has a record too.
	if err := stored.readMongo(ctx, s); err != nil {
		return nil, fmt.Errorf("verify: mongo: %w", err)
	}
	var err error
	if stored.SensorRecords, err = s.lastRecords(ctx, sensorsTopic); err == nil {
		stored.PlaceRecords, err = s.lastRecords(ctx, placesTopic)
	}
	if err != nil {
		return nil, fmt.Errorf("verify: kafka: %w", err)
	}
	return stored, nil
}

// frame takes in a record of iot-frames.
func (s *Stored) frame(decoder *telemetry.Decoder, r *kafka.Message) {
	var f telemetry.Frame
	if decoder.Decode(r.Value, &f) != nil {
		s.Undecodable = append(s.Undecodable, r.Value)
		return
	}
	if f.IsLoss() {
		s.Declared[lossOf(&f)] = true
		return
	}
	key := KeyOf(&f)
	received := r.Time.UnixMilli()
	if before, ok := s.Received[key]; ok {
		s.Redelivered++
		received = min(received, before)
	}
	s.Kafka[key], s.Received[key] = f, received
}

// lastRecords returns the last record of each key of a topic.
func (s Sources) lastRecords(ctx context.Context, topic string) (map[string]Document, error) {
	last := make(map[string]Document)
	err := s.eachRecord(ctx, topic, func(r *kafka.Message) error {
		d, err := parseRecord(r.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Key, err)
		}
		last[string(r.Key)] = d
		return nil
	})
	return last, err
}

// eachRecord calls f for every record of a topic, in the order of each
// partition, up to the end that it has at the call.
func (s Sources) eachRecord(ctx context.Context, topic string, f func(*kafka.Message) error) error {
	client := &kafka.Client{Addr: kafka.TCP(s.Brokers...)}
	if s.Kafka != nil {
		transport := &kafka.Transport{TLS: s.Kafka.TLS, SASL: s.Kafka.SASLMechanism}
		defer transport.CloseIdleConnections()
		client.Transport = transport
	}
	metadata, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	for _, t := range metadata.Topics {
		if t.Error != nil {
			return fmt.Errorf("%s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			if err := s.eachOfPartition(ctx, client, topic, p.ID, f); err != nil {
				return fmt.Errorf("%s/%d: %w", topic, p.ID, err)
			}
		}
	}
	return nil
}

func (s Sources) eachOfPartition(ctx context.Context, client *kafka.Client, topic string, partition int, f func(*kafka.Message) error) error {
	offsets, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition)},
	}})
	if err != nil {
		return err
	}
	bounds := offsets.Topics[topic][0]
	if bounds.Error != nil || bounds.FirstOffset >= bounds.LastOffset {
		return bounds.Error
	}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: s.Brokers, Dialer: s.Kafka, Topic: topic, Partition: partition,
		MinBytes: 1, MaxBytes: 10 << 20, MaxWait: 100 * time.Millisecond,
	})
	defer func() { _ = reader.Close() }() // it only reads
	if err := reader.SetOffset(bounds.FirstOffset); err != nil {
		return err
	}
	for offset := bounds.FirstOffset; offset < bounds.LastOffset; {
		record, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		offset = record.Offset + 1
		if err := f(&record); err != nil {
			return fmt.Errorf("offset %d: %w", record.Offset, err)
		}
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
			s.Losses = append(s.Losses, Loss{d.ID, uint64(d.Epoch), uint64(d.First), uint64(d.Last), d.Reason})
			return nil
		}),
		each(ctx, database.Collection("iot_aggregate_metrics_sensor"), func(d *bson.D) error {
			s.Sensors = append(s.Sensors, document(*d))
			return nil
		}),
		each(ctx, database.Collection("iot_aggregate_metrics_place"), func(d *bson.D) error {
			s.Places = append(s.Places, document(*d))
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
	Document  string             `bson:"_id"`
	ID        string             `bson:"id"`
	Name      string             `bson:"name"`
	PlaceID   string             `bson:"place_id"`
	Timestamp int64              `bson:"timestamp"`
	Date      time.Time          `bson:"date"`
	Epoch     *int64             `bson:"epoch"`
	Seq       *int64             `bson:"seq"`
	Payload   map[string]float64 `bson:"payload"`
	Raw       map[string]float64 `bson:"raw"`
	Faults    map[string]string  `bson:"faults"`
	Clock     string             `bson:"clock"`
}

func (d *frameDocument) frame() (telemetry.Frame, error) {
	f := telemetry.Frame{ID: d.ID, Name: d.Name, PlaceID: d.PlaceID, Timestamp: d.Timestamp, Clock: telemetry.Clock(d.Clock)}
	if d.Epoch != nil && d.Seq != nil {
		f.Sequenced, f.Epoch, f.Seq = true, uint64(*d.Epoch), uint64(*d.Seq)
	}
	if id := KeyOf(&f).String(); d.Document != id {
		return f, fmt.Errorf("%s: its _id is %s", id, d.Document)
	}
	if d.Date.UnixMilli() != d.Timestamp {
		return f, fmt.Errorf("%s: date %s is not timestamp %d", KeyOf(&f), d.Date, d.Timestamp)
	}
	for m := range telemetry.Measure(telemetry.Measures) {
		if v, ok := d.Payload[m.String()]; ok {
			f.Payload.Set(m, telemetry.Micro(math.Round(v*1e6)))
		}
		if v, ok := d.Raw[m.String()]; ok {
			f.Raw.Set(m, telemetry.Micro(math.Round(v*1e6)))
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

// document returns d with the values that a Document has.
func document(d bson.D) Document {
	fields := make(Document, len(d))
	for _, e := range d {
		fields[e.Key] = value(e.Value)
	}
	return fields
}

func value(v any) any {
	switch v := v.(type) {
	case bson.D:
		return document(v)
	case bson.A:
		list := make([]any, len(v))
		for i := range v {
			list[i] = value(v[i])
		}
		return list
	case bson.DateTime:
		return v.Time().UTC()
	}
	return v
}

// parseRecord returns a record's JSON, whose numbers stay as they are written.
func parseRecord(data []byte) (Document, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	return fields, nil
}
