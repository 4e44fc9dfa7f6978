package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/segmentio/kafka-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

const (
	framesTopic  = "iot-frames"
	windowsTopic = "iot-aggregate-metrics-sensor"
)

// Options says what to follow.
type Options struct {
	Brokers  []string // of Kafka
	MongoURI string
	Database string
}

// Ledger follows a system. Its methods are safe for concurrent use.
type Ledger struct {
	options Options
	mongo   *mongo.Client

	mu      sync.Mutex
	account Account
	rows    map[string]Row // the newest seen in MongoDB, by sensor
}

// New returns a Ledger that has followed nothing yet.
func New(o Options) (*Ledger, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(o.MongoURI))
	if err != nil {
		return nil, err
	}
	return &Ledger{options: o, mongo: client, rows: make(map[string]Row)}, nil
}

// Run follows the topics until ctx ends. Topics that do not exist yet, and
// brokers that are away, are waited for.
func (l *Ledger) Run(ctx context.Context) error {
	defer func() { _ = l.mongo.Disconnect(context.WithoutCancel(ctx)) }()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var decoder telemetry.Decoder
		var mu sync.Mutex // partitions are read side by side
		return l.follow(ctx, framesTopic, func(record kafka.Message) {
			mu.Lock()
			defer mu.Unlock()
			var f telemetry.Frame
			if decoder.Decode(record.Value, &f) != nil {
				return // the bridge lets none through
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.account.Frame(&f)
		})
	})
	group.Go(func() error {
		return l.follow(ctx, windowsTopic, func(record kafka.Message) {
			var window struct {
				Frames uint64 `json:"count_measures"`
			}
			if json.Unmarshal(record.Value, &window) != nil {
				return
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.account.Window(string(record.Key), window.Frames)
		})
	})
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// follow calls f for each record of topic, from several goroutines.
func (l *Ledger) follow(ctx context.Context, topic string, f func(kafka.Message)) error {
	client := &kafka.Client{Addr: kafka.TCP(l.options.Brokers...)}
	partitions, err := backoff.Retry(ctx, func() ([]kafka.Partition, error) {
		metadata, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err != nil {
			return nil, err
		}
		if len(metadata.Topics) != 1 || metadata.Topics[0].Error != nil {
			return nil, errors.New("the topic does not exist yet")
		}
		return metadata.Topics[0].Partitions, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(100*time.Millisecond)), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range partitions {
		group.Go(func() error {
			reader := kafka.NewReader(kafka.ReaderConfig{
				Brokers: l.options.Brokers, Topic: topic, Partition: p.ID,
				MinBytes: 1, MaxBytes: 10 << 20, MaxWait: 250 * time.Millisecond,
			})
			defer func() { _ = reader.Close() }() // it only reads
			for {
				record, err := reader.ReadMessage(ctx)
				if err != nil {
					return err
				}
				f(record)
			}
		})
	}
	return group.Wait()
}

// Totals returns what became of the readings so far.
func (l *Ledger) Totals() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.account.Totals()
}

// Row is one sensor's newest reading in MongoDB.
type Row struct {
	ID, Name, PlaceID string
	Date              time.Time // zero: MongoDB has none yet
	Values            [telemetry.Measures]*float64
	Faults            map[string]string
}

// Stored returns how many readings MongoDB holds and the newest of each
// sensor. A document is looked up by its id, for which every server has an
// index.
func (l *Ledger) Stored(ctx context.Context) (int64, []Row, error) {
	collection := l.mongo.Database(l.options.Database).Collection("iot_frames")
	count, err := collection.EstimatedDocumentCount(ctx)
	if err != nil {
		return 0, nil, err
	}
	l.mu.Lock()
	latest := l.account.Latest()
	l.mu.Unlock()
	rows := make([]Row, 0, len(latest))
	for i := range latest {
		row, err := l.lookUp(ctx, collection, &latest[i])
		if err != nil {
			return 0, nil, err
		}
		rows = append(rows, row)
	}
	return count, rows, nil
}

// lookUp returns the document of f, or, until MongoDB has it, the sensor's
// document before it.
func (l *Ledger) lookUp(ctx context.Context, collection *mongo.Collection, f *telemetry.Frame) (Row, error) {
	var document struct {
		Date    time.Time           `bson:"date"`
		Payload map[string]*float64 `bson:"payload"`
		Faults  map[string]string   `bson:"faults"`
	}
	err := collection.FindOne(ctx, bson.D{{Key: "_id", Value: telemetry.FrameID(f)}}).Decode(&document)
	l.mu.Lock()
	defer l.mu.Unlock()
	row, known := l.rows[f.ID]
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		if !known {
			row = Row{ID: f.ID, Name: f.Name, PlaceID: f.PlaceID}
		}
		return row, nil
	case err != nil:
		return row, err
	}
	row = Row{ID: f.ID, Name: f.Name, PlaceID: f.PlaceID, Date: document.Date, Faults: document.Faults}
	for m := range telemetry.Measure(telemetry.Measures) {
		row.Values[m] = document.Payload[m.String()]
	}
	l.rows[f.ID] = row
	return row, nil
}
