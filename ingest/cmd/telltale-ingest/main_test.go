package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/simulator/lab"
)

// execute runs the program and returns what it wrote and its exit code.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	c := root()
	c.SetArgs(args)
	c.SetOut(&out)
	code = command.Execute(t.Context(), c, &errOut)
	return code, out.String(), errOut.String()
}

func TestUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ingest.yaml")
	if err := os.WriteFile(file, []byte("mongo: {database: a b}\nkafka: {brokers: [k:9092]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args   string
		code   int
		stderr string // a pattern
	}{
		{"migrate --config " + file, 2, `ingest\.yaml:1:\d+: .*mongo\.database`},
		{"migrate --source-uri mongodb://user:secret@old", 2, `^--source-uri: source\.uri: .*URL without a password[^@]*\n$`},
		{"migrate --source-uri postgres://old", 2, `--source-uri: .*mongodb://`},
		{"migrate --source-database a/b", 2, `--source-database: .*a/b`},
		{"migrate now", 2, `unknown command|accepts no arguments`},
		{"migrate --kafka-brokers k:9092", 2, `unknown flag`},
		{"missing", 2, `from last`},
		{"missing --from 2025-11-23T00:00:00Z --last 1h", 2, `from last`},
		{"missing --from yesterday --to today", 2, `(?s)--from: .*yesterday.*--to: .*today`},
		{"missing --from 2025-11-24T00:00:00Z --to 2025-11-23T00:00:00Z", 2, `--from: .*before 2025-11-23T00:00:00Z`},
		{"missing --last 0s", 2, `--last: .*more than 0s`},
		{"missing --last 1h --format xml", 2, `--format: .*text or json`},
		{"migrate --help", 0, `^$`},
		{"health --metrics-listen 127.0.0.1:1", 1, `^telltale-ingest: no answer from http://127\.0\.0\.1:1/healthz: `},
		{"health --config " + file, 2, `ingest\.yaml:1:\d+: .*mongo\.database`},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, _, stderr := execute(t, strings.Fields(tt.args)...)
			if code != tt.code || !regexp.MustCompile(tt.stderr).MatchString(stderr) {
				t.Errorf("exit code %d, want %d; stderr does not match %q:\n%s", code, tt.code, tt.stderr, stderr)
			}
		})
	}
}

// TestSecretFromEnvironment: a connection string with a password is taken from
// the environment, and shown nowhere.
func TestSecretFromEnvironment(t *testing.T) {
	t.Setenv("TELLTALE_SOURCE_URI", "mongodb://user:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=1")
	t.Setenv("TELLTALE_MONGO_URI", "mongodb://user:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=1")
	code, stdout, stderr := execute(t, "migrate")
	if code != 1 || strings.Contains(stdout+stderr, "hunter2") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
}

// TestOffline takes over what the replaced system left, and then asks what is
// missing, on an embedded server.
func TestOffline(t *testing.T) {
	server, err := lab.StartMongo("127.0.0.1:0", t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client, err := mongo.Connect(options.Client().ApplyURI(server.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	start := time.Now().Add(-time.Hour).Truncate(5 * time.Minute)
	var seeds []any
	for n := range 30 {
		at := start.Add(time.Duration(n) * 20 * time.Second)
		seeds = append(seeds, bson.D{
			{Key: "id", Value: fmt.Sprint(12434345 + n%2)}, {Key: "name", Value: "Sensor"}, {Key: "place_id", Value: "32347983"},
			{Key: "date", Value: at.UTC().Format("2006-01-02T15:04:05.000Z")}, {Key: "timestamp", Value: at.UnixMilli()},
			{Key: "payload", Value: bson.D{{Key: "temperature", Value: int32(n)}, {Key: "luminosity", Value: int32(n * 1000)}}},
		})
	}
	if _, err := client.Database("old").Collection("iot_frames").InsertMany(t.Context(), seeds); err != nil {
		t.Fatal(err)
	}
	dump := func() string {
		var text strings.Builder
		for _, name := range []string{"iot_frames", "iot_aggregate_metrics_sensor", "iot_aggregate_metrics_place"} {
			cursor, err := client.Database("iot").Collection(name).Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
			if err != nil {
				t.Fatal(err)
			}
			for cursor.Next(t.Context()) {
				text.WriteString(cursor.Current.String() + "\n")
			}
			if err := cursor.Err(); err != nil {
				t.Fatal(err)
			}
		}
		return text.String()
	}
	migrate := []string{"migrate", "--mongo-uri", server.URI(), "--source-database", "old", "--log-level", "error"}
	expect := func(wantCode int, want string, args ...string) {
		t.Helper()
		code, stdout, stderr := execute(t, args...)
		if code != wantCode || !regexp.MustCompile(want).MatchString(stdout) {
			t.Fatalf("%v: exit code %d, want %d; want %q in\n%s\n%s", args, code, wantCode, want, stdout, stderr)
		}
	}
	expect(0, `frames to be stored +30\n`, migrate...)
	if text := dump(); text != "" {
		t.Fatalf("a dry run wrote\n%s", text)
	}
	expect(0, `(?s)frames stored +30\n.*windows of sensors stored +4\n.*windows of places stored +2\n`, append(migrate, "--apply")...)
	first := dump()
	if n := strings.Count(first, "\n"); n != 36 || !strings.Contains(first, fmt.Sprintf(`"_id": "12434345/%d"`, start.UnixMilli())) {
		t.Fatalf("%d documents:\n%s", n, first)
	}
	expect(0, `(?s)frames stored +0\nframes stored before +30\n.*sensors stored before +4\n.*places stored before +2\n`, append(migrate, "--apply")...)
	if second := dump(); second != first {
		t.Errorf("another run made of\n%s\nthis:\n%s", first, second)
	}

	missing := []string{"missing", "--mongo-uri", server.URI(), "--last", "2h"}
	expect(0, `^12434345: unknown: 15 without seq\n12434346: unknown: 15 without seq\n$`, missing...)
	expect(0, `^\{"sensor_id":"12434346",[^\n]*"verdict":"unknown"[^\n]*\n$`, append(missing, "--sensor", "12434346", "--format", "json")...)
	if _, err := client.Database("iot").Collection("iot_frames").DeleteOne(t.Context(), bson.D{{Key: "_id", Value: fmt.Sprintf("12434345/%d", start.UnixMilli())}}); err != nil {
		t.Fatal(err)
	}
	expect(1, `^12434345: missing: 1 in a window and not stored, 15 without seq\n`, append(missing, "--place", "32347983")...)
	expect(0, `^12434345: unknown`, append(missing, "--windows-only")...)

	poison := bson.D{{Key: "id", Value: "12434345"}, {Key: "timestamp", Value: "today"}}
	if _, err := client.Database("old").Collection("iot_frames").InsertOne(t.Context(), poison); err != nil {
		t.Fatal(err)
	}
	expect(1, `(?s)refused +1\n.*timestamp: "today": want an integer\n$`, migrate...)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c := root()
	c.SetArgs(migrate)
	var errOut bytes.Buffer
	if code := command.Execute(ended, c, &errOut); code != 1 || !strings.Contains(errOut.String(), "interrupted; run it again to go on") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
}
