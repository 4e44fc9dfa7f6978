package lab_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/segmentio/kafka-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/simulator/lab"
)

const loopback = "127.0.0.1:0"

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestMQTTCarriesAMessage(t *testing.T) {
	broker, err := lab.StartMQTT(loopback, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()

	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker.Addr()).SetClientID("test"))
	wait := func(token paho.Token) {
		t.Helper()
		if !token.WaitTimeout(30 * time.Second) {
			t.Fatal("the broker does not answer")
		}
		if err := token.Error(); err != nil {
			t.Fatal(err)
		}
	}
	wait(client.Connect())
	defer client.Disconnect(0)
	received := make(chan string, 1)
	wait(client.Subscribe("greeting", 1, func(_ paho.Client, m paho.Message) { received <- string(m.Payload()) }))
	wait(client.Publish("greeting", 1, false, "hello"))
	select {
	case got := <-received:
		if got != "hello" {
			t.Fatalf("received %q, want %q", got, "hello")
		}
	case <-deadline(t).Done():
		t.Fatal("the message did not come back")
	}
}

func TestKafkaKeepsARecord(t *testing.T) {
	ctx := deadline(t)
	broker, err := lab.StartKafka(loopback, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()

	client := &kafka.Client{Addr: kafka.TCP(broker.Addr())}
	created, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}},
	})
	if err := errors.Join(err, created.Errors["t"]); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Produce(ctx, &kafka.ProduceRequest{
		Topic: "t", RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Key: kafka.NewBytes([]byte("k")), Value: kafka.NewBytes([]byte("v"))}),
	}); err != nil {
		t.Fatal(err)
	}
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker.Addr()}, Topic: "t", MaxWait: 100 * time.Millisecond})
	defer reader.Close()
	record, err := reader.ReadMessage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if string(record.Key) != "k" || string(record.Value) != "v" {
		t.Fatalf("read %q: %q, want k: v", record.Key, record.Value)
	}
}

func TestMongoKeepsADocument(t *testing.T) {
	ctx := deadline(t)
	server, err := lab.StartMongo(loopback, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()

	client, err := mongo.Connect(options.Client().ApplyURI(server.URI()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	collection := client.Database("iot").Collection("c")
	if _, err := collection.InsertOne(ctx, bson.M{"_id": "a", "n": int64(7)}); err != nil {
		t.Fatal(err)
	}
	var got struct{ N int64 }
	if err := collection.FindOne(ctx, bson.M{"_id": "a"}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.N != 7 {
		t.Fatalf("n = %d, want 7", got.N)
	}
	if _, err := collection.InsertOne(ctx, bson.M{"_id": "a"}); !mongo.IsDuplicateKeyError(err) {
		t.Fatalf("second insert of one _id: %v, want a duplicate key error", err)
	}
}

func TestABusyAddressIsAnError(t *testing.T) {
	taken, err := net.Listen("tcp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	discard := slog.New(slog.DiscardHandler)

	start := map[string]func() error{
		"mqtt":  func() error { _, err := lab.StartMQTT(addr, discard); return err },
		"kafka": func() error { _, err := lab.StartKafka(addr, ""); return err },
		"mongo": func() error { _, err := lab.StartMongo(addr, t.TempDir(), discard); return err },
	}
	for name, f := range start {
		t.Run(name, func(t *testing.T) {
			if err := f(); !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatalf("start on a busy address: %v, want EADDRINUSE", err)
			}
		})
	}
}
