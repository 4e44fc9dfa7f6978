//go:build integration

package mongo

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// deletes returns, by index, after how many seconds the server says that it
// deletes frames.
func deletes(t *testing.T, database *driver.Database) map[string]int32 {
	t.Helper()
	specifications, err := database.Collection(frames).Indexes().ListSpecifications(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := make(map[string]int32)
	for _, s := range specifications {
		if s.ExpireAfterSeconds != nil {
			after[s.Name] = *s.ExpireAfterSeconds
		}
	}
	return after
}

// TestTTL goes through a deployment's life: each row is a start of ingest with
// another mongo.frames_ttl.
func TestTTL(t *testing.T) {
	c, sent := connect(t)
	for _, row := range []struct {
		golden string
		ttl    time.Duration
		want   map[string]int32
	}{
		{"ttl_never", 0, map[string]int32{}},
		{"ttl_created", 90 * 24 * time.Hour, map[string]int32{ttlIndex: 7_776_000}},
		{"ttl_unchanged", 90 * 24 * time.Hour, map[string]int32{ttlIndex: 7_776_000}},
		{"ttl_changed", 36*time.Hour + 999*time.Millisecond, map[string]int32{ttlIndex: 129_600}},
		{"ttl_changed_to_most", (1<<31 - 1) * time.Second, map[string]int32{ttlIndex: 1<<31 - 1}},
		{"ttl_removed", 0, map[string]int32{}},
		{"ttl_never", 0, map[string]int32{}},
	} {
		c.options.FramesTTL = row.ttl
		if err := c.EnsureIndexes(t.Context()); err != nil {
			t.Fatalf("%s: %v", row.golden, err)
		}
		// The last of the other indexes is the place's; those are in another golden.
		for len(sent.sent) > 0 && sent.sent[0][0] != (bson.E{Key: "listIndexes", Value: frames}) {
			sent.sent = sent.sent[1:]
		}
		sent.golden(t, row.golden)
		if diff := cmp.Diff(row.want, deletes(t, databaseOf(t, c))); diff != "" {
			t.Errorf("%s: -want +the server's view:\n%s", row.golden, diff)
		}
		sent.take()
	}
}

// TestTTLOfOthers: an administrator has made an index that ours meets.
func TestTTLOfOthers(t *testing.T) {
	const ttl = 90 * 24 * time.Hour
	for name, row := range map[string]struct {
		keys    bson.D
		name    string
		seconds int32 // 0: deletes nothing
		ttl     time.Duration
		want    map[string]int32
		logged  string
	}{
		"our name on other keys":          {ascending("timestamp"), ttlIndex, 0, ttl, map[string]int32{}, `msg="an index of other keys has the name of ours; frames are not deleted"`},
		"our name on other keys, no wish": {ascending("timestamp"), ttlIndex, 0, 0, map[string]int32{}, ""},
		"another that deletes": {ascending("date"), "theirs", 3600, ttl, map[string]int32{"theirs": 3600},
			`msg="an index that is not ours decides when frames are deleted, not mongo.frames_ttl" collection=iot_frames index=theirs deletes=true`},
		"another that deletes, never wished":  {ascending("date"), "theirs", 3600, 0, map[string]int32{"theirs": 3600}, "index=theirs deletes=true"},
		"another that does not":               {ascending("date"), "theirs", 0, ttl, map[string]int32{}, "index=theirs deletes=false"},
		"another that does not, never wished": {ascending("date"), "theirs", 0, 0, map[string]int32{}, ""},
		"ours, made by hand without an age":   {ascending("date"), ttlIndex, 0, ttl, map[string]int32{ttlIndex: 7_776_000}, ""},
		"on date and more":                    {ascending("date", "id"), "theirs", 0, ttl, map[string]int32{ttlIndex: 7_776_000}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := connect(t)
			var log bytes.Buffer
			c.log, c.options.FramesTTL = slog.New(slog.NewTextHandler(&log, nil)), row.ttl
			o := options.Index().SetName(row.name)
			if row.seconds > 0 {
				o.SetExpireAfterSeconds(row.seconds)
			}
			database := databaseOf(t, c)
			if _, err := database.Collection(frames).Indexes().CreateOne(t.Context(), driver.IndexModel{Keys: row.keys, Options: o}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := c.EnsureIndexes(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(row.want, deletes(t, database)); diff != "" {
				t.Errorf("-want +the server's view:\n%s", diff)
			}
			if got := log.String(); !strings.Contains(got, row.logged) || row.logged == "" && got != "" {
				t.Errorf("logged %q, want %q", got, row.logged)
			}
		})
	}
}
