package verify_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const (
	epoch  = uint64(77)
	start  = int64(1_763_870_400_000)
	window = 10 * time.Second
)

// reading returns the frame of sensor a with this sequence number, sampled one
// a second.
func reading(seq uint64) telemetry.Frame {
	f := telemetry.Frame{ID: "a", PlaceID: "p", Sequenced: true, Epoch: epoch, Seq: seq, Timestamp: start + int64(seq)*1000}
	f.Payload.Set(telemetry.Temperature, telemetry.Micro(20_000_000+1000*seq))
	return f
}

// healthy returns a journal of n readings and what a right pipeline stores.
func healthy(t *testing.T, n uint64) (*verify.Journal, *verify.Stored) {
	t.Helper()
	journal := verify.NewJournal(nil)
	stored := &verify.Stored{
		Kafka: make(map[verify.Key]telemetry.Frame), Received: make(map[verify.Key]int64), Declared: make(map[verify.Loss]bool),
		SensorRecords: make(map[string]verify.Document), PlaceRecords: make(map[string]verify.Document),
	}
	for seq := range n {
		f := reading(seq)
		journal.Record(&f)
		stored.Kafka[verify.KeyOf(&f)] = f
		stored.Received[verify.KeyOf(&f)] = f.Timestamp + 500
		stored.Frames = append(stored.Frames, f)
	}
	sensors, places := verify.Expect(stored.Frames, nil, window)
	for i, id := range slices.Sorted(maps.Keys(sensors)) {
		d := sensors[id]
		d["revision"] = int64(i + 1)
		stored.Sensors = append(stored.Sensors, d)
		stored.SensorRecords[id] = record(t, d)
		d = places[strings.Replace(id, "a/", "p/", 1)]
		d["revision"] = int64(1)
		d["sensors"] = []any{verify.Document{"sensor_id": "a", "revision": int64(i + 1)}}
		stored.Places = append(stored.Places, d)
		stored.PlaceRecords[d["_id"].(string)] = record(t, d)
	}
	return journal, stored
}

// record returns what a window's record has: not what is for ingest alone.
func record(t *testing.T, d verify.Document) verify.Document {
	t.Helper()
	d = maps.Clone(d)
	delete(d, "_id")
	delete(d, "coverage")
	delete(d, "parts")
	delete(d, "sensors")
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestCompare(t *testing.T) {
	loss := verify.Loss{ID: "a", Epoch: epoch, First: 0, Last: 1, Reason: "power_cut"}
	key := func(seq uint64) verify.Key { return verify.Key{ID: "a", Epoch: epoch, Seq: seq} }
	id := func(n int64) string {
		return fmt.Sprintf("a/%d-%d", start+n*window.Milliseconds(), start+(n+1)*window.Milliseconds())
	}
	// cover makes a window say that it has other frames.
	cover := func(w verify.Document, first, last int64) {
		seqs := []any{verify.Document{"first": first, "last": last}}
		w["coverage"] = []any{verify.Document{"epoch": int64(epoch), "seq": seqs}}
	}
	tests := []struct {
		name  string
		spoil func(*verify.Journal, *verify.Stored)
		line  string
		find  string // within one of the findings; "" wants none at all
	}{
		{
			name:  "nothing amiss",
			spoil: func(*verify.Journal, *verify.Stored) {},
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=0",
		},
		{
			name:  "not in Kafka",
			spoil: func(_ *verify.Journal, s *verify.Stored) { delete(s.Kafka, key(3)) },
			line:  "verify sampled=25 kafka=24 mongo=25 windowed=25 missing=1 duplicate=0 different=0",
			find:  "missing a/77/3: is not in Kafka",
		},
		{
			name: "not in MongoDB, declared lost",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				s.Frames = s.Frames[1:]
				s.Losses, s.Declared[loss] = []verify.Loss{loss}, true
			},
			line: "verify sampled=25 kafka=25 mongo=24 windowed=25 missing=1 duplicate=0 different=0",
			find: "missing a/77/0: is not in MongoDB, declared lost: power_cut",
		},
		{
			name:  "in no window",
			spoil: func(_ *verify.Journal, s *verify.Stored) { cover(s.Sensors[1], 11, 19) },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=24 missing=1 duplicate=0 different=1",
			find:  "missing a/77/10: is in no window",
		},
		{
			name:  "in two windows",
			spoil: func(_ *verify.Journal, s *verify.Stored) { cover(s.Sensors[1], 9, 19) },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=24 missing=0 duplicate=1 different=1",
			find:  "duplicate a/77/9: is in 2 windows",
		},
		{
			name: "in the wrong window",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				cover(s.Sensors[0], 0, 8)
				cover(s.Sensors[1], 9, 19)
			},
			line: "verify sampled=25 kafka=25 mongo=25 windowed=24 missing=0 duplicate=0 different=3",
			find: "different a/77/9: is in window",
		},
		{
			name:  "two documents of one reading",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Frames = append(s.Frames, s.Frames[4]) },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=1 different=0",
			find:  "duplicate a/77/4: has two documents",
		},
		{
			name:  "another value in MongoDB",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Frames[4].Payload.Set(telemetry.Temperature, 1) },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  `different a/77/4: in MongoDB is {"id":"a"`,
		},
		{
			name:  "another clock in MongoDB",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Frames[4].Clock = telemetry.ClockEstimated },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  `"clock":"estimated"}, sampled was`,
		},
		{
			name: "a reading nobody sampled",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				f := reading(99)
				s.Frames = append(s.Frames, f)
			},
			line: "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find: "different a/77/99: is in MongoDB and was never sampled",
		},
		{
			name:  "a wrong average",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Places[2]["avg_temperature"] = 20.0 },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=2",
			find:  "has avg_temperature 20, want 20.022",
		},
		{
			name: "the last bit of a deviation",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				d := s.Sensors[0]["stddev_temperature"].(float64)
				s.Sensors[0]["stddev_temperature"] = math.Nextafter(d, 1)
			},
			line: "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=2",
			find: "has stddev_temperature",
		},
		{
			name:  "a wrong count",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Sensors[0]["count_measures"] = int64(11) },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=2",
			find:  "has count_measures 11, want 10",
		},
		{
			name:  "a field that should not be there",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Sensors[0]["avg_humidity"] = nil },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=2",
			find:  "has avg_humidity",
		},
		{
			name:  "no field where there should be null",
			spoil: func(_ *verify.Journal, s *verify.Stored) { delete(s.Sensors[0], "missing") },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=2",
			find:  "has missing <nil>, want 0",
		},
		{
			name:  "no place window",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Places = s.Places[:2] },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=2",
			find:  "different p/1763870420000-1763870430000: has no place window",
		},
		{
			name:  "a place of an older revision of its sensor",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Sensors[2]["revision"] = int64(4) },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=2",
			find:  "has sensors [map[revision:3 sensor_id:a]], want [map[revision:4 sensor_id:a]]",
		},
		{
			name:  "an outdated record is the last",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.SensorRecords[id(1)]["revision"] = json.Number("1") },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  "has revision 1 in its last record, and 2 in its document",
		},
		{
			name:  "no record",
			spoil: func(_ *verify.Journal, s *verify.Stored) { delete(s.PlaceRecords, strings.Replace(id(1), "a", "p", 1)) },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  "has no record of its place window",
		},
		{
			name:  "more in the record than there should be",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.SensorRecords[id(1)]["parts"] = []any{} },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  "has parts [] in its last record",
		},
		{
			name: "a loss that MongoDB does not have",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				s.Declared[loss] = true
			},
			line: "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find: "different a/77/0-1/power_cut: is not in MongoDB",
		},
		{
			name:  "a loss that nobody declared",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Losses = []verify.Loss{loss} },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  "was never declared",
		},
		{
			name:  "received too late, and in a window",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Received[key(24)] += time.Hour.Milliseconds() },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=24 missing=0 duplicate=0",
			find:  "different a/77/24: is in window a/1763870420000-1763870430000, and was received too late for any",
		},
		{
			name: "a client's own frame must agree everywhere",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				f := telemetry.Frame{ID: "theirs", Timestamp: start}
				s.Kafka[verify.KeyOf(&f)] = f
				s.Received[verify.KeyOf(&f)] = start
			},
			line: "verify sampled=26 kafka=26 mongo=25 windowed=25 missing=1 duplicate=0 different=1",
			find: "missing theirs/1763870400000: is not in MongoDB",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			journal, stored := healthy(t, 25)
			test.spoil(journal, stored)
			report := verify.Compare(journal, stored, verify.Rules{Window: window, Retention: time.Hour})
			if got := report.String(); !strings.HasPrefix(got, test.line) {
				t.Errorf("got  %s\nwant %s", got, test.line)
			}
			if report.OK() != (test.find == "") {
				t.Errorf("OK() = %t with findings %v", report.OK(), report.Findings)
			}
			for _, f := range report.Findings {
				if strings.Contains(f.String(), test.find) {
					return
				}
			}
			if test.find != "" {
				t.Errorf("no finding says %q: %v", test.find, report.Findings)
			}
		})
	}
}

func TestJournalSurvivesAKill(t *testing.T) {
	var file strings.Builder
	journal := verify.NewJournal(&file)
	for seq := range uint64(3) {
		f := reading(seq)
		journal.Record(&f)
	}
	if err := journal.Err(); err != nil {
		t.Fatal(err)
	}
	// Reading 3 got into the buffer, and its line only half way into the file.
	file.WriteString(`{"id":"a","epo`)
	file.WriteString("\n\n")
	for seq := uint64(4); seq < 25; seq++ {
		f := reading(seq)
		file.Write(append(telemetry.AppendFrame(nil, &f), '\n'))
	}
	read, err := verify.ReadJournal("journal", strings.NewReader(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	if read.Len() != 24 {
		t.Errorf("the journal has %d readings, want 24", read.Len())
	}
	_, stored := healthy(t, 25)
	if report := verify.Compare(read, stored, verify.Rules{Window: window}); !report.OK() || report.Sampled != 25 {
		t.Errorf("%s %v, want all 25 vouched for", report, report.Findings)
	}
}

func TestJournalDamagedInTheMiddleIsAnError(t *testing.T) {
	_, err := verify.ReadJournal("j.log", strings.NewReader("\n{\"id\":\n{\"id\":\"a\",\"timestamp\":1}\n"))
	if err == nil || !strings.Contains(err.Error(), "j.log:2:") {
		t.Errorf("got %v, want an error that names j.log:2", err)
	}
}
