package verify_test

import (
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
func healthy(n uint64) (*verify.Journal, *verify.Stored) {
	journal := verify.NewJournal(nil)
	stored := &verify.Stored{Kafka: make(map[verify.Key]telemetry.Frame)}
	for first := uint64(0); first < n; first += 10 {
		w := verify.Window{ID: "a/" + time.UnixMilli(start).Add(time.Duration(first)*time.Second).Format(time.TimeOnly), Owner: "a", Start: start + int64(first)*1000}
		temperature := &w.Measures[telemetry.Temperature]
		for seq := first; seq < min(first+10, n); seq++ {
			f := reading(seq)
			journal.Record(&f)
			stored.Kafka[verify.KeyOf(&f)] = f
			stored.Frames = append(stored.Frames, f)
			v, _ := f.Payload.Get(telemetry.Temperature)
			if temperature.Count == 0 {
				temperature.Min = v.Float()
			}
			temperature.Max = v.Float()
			temperature.Count++
			temperature.Sum += v.Float()
			w.Coverage = append(w.Coverage, verify.KeyOf(&f))
			w.Count++
		}
		temperature.Avg = temperature.Sum / float64(temperature.Count)
		stored.Sensors = append(stored.Sensors, w)
		w.ID, w.Owner, w.Coverage = strings.Replace(w.ID, "a", "p", 1), "p", nil
		stored.Places = append(stored.Places, w)
	}
	return journal, stored
}

func TestCompare(t *testing.T) {
	key := func(seq uint64) verify.Key { return verify.Key{ID: "a", Epoch: epoch, Seq: seq} }
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
				s.Losses = []telemetry.Frame{{ID: "a", Sequenced: true, Epoch: epoch, Lost: telemetry.Loss{Seqs: telemetry.SeqRange{First: 0, Last: 1}, Reason: "power_cut"}}}
			},
			line: "verify sampled=25 kafka=25 mongo=24 windowed=25 missing=1 duplicate=0 different=0",
			find: "missing a/77/0: is not in MongoDB, declared lost: power_cut",
		},
		{
			name:  "in no window",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Sensors[1].Coverage = s.Sensors[1].Coverage[1:] },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=24 missing=1 duplicate=0 different=0",
			find:  "missing a/77/10: is in no window",
		},
		{
			name: "in two windows",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				s.Sensors[1].Coverage = append(s.Sensors[1].Coverage, key(3))
			},
			line: "verify sampled=25 kafka=25 mongo=25 windowed=24 missing=0 duplicate=1 different=0",
			find: "duplicate a/77/3: is in 2 windows",
		},
		{
			name: "in the wrong window",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				s.Sensors[0].Coverage, s.Sensors[1].Coverage = s.Sensors[0].Coverage[1:], append(s.Sensors[1].Coverage, s.Sensors[0].Coverage[0])
			},
			line: "verify sampled=25 kafka=25 mongo=25 windowed=24 missing=0 duplicate=0 different=1",
			find: "different a/77/0: is in window",
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
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Places[2].Measures[telemetry.Temperature].Avg = 20 },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  "has temperature",
		},
		{
			name:  "a wrong count",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Sensors[0].Count++ },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  "counts 11 frames, there are 10",
		},
		{
			name:  "no place window",
			spoil: func(_ *verify.Journal, s *verify.Stored) { s.Places = s.Places[:2] },
			line:  "verify sampled=25 kafka=25 mongo=25 windowed=25 missing=0 duplicate=0 different=1",
			find:  "different p/1763870420000: has no place window",
		},
		{
			name: "a client's own frame must agree everywhere",
			spoil: func(_ *verify.Journal, s *verify.Stored) {
				f := telemetry.Frame{ID: "theirs", Timestamp: start}
				s.Kafka[verify.KeyOf(&f)] = f
			},
			line: "verify sampled=26 kafka=26 mongo=25 windowed=25 missing=1 duplicate=0 different=1",
			find: "missing theirs/1763870400000: is not in MongoDB",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			journal, stored := healthy(25)
			test.spoil(journal, stored)
			report := verify.Compare(journal, stored, window)
			if got := report.String(); got != test.line {
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
	_, stored := healthy(25)
	if report := verify.Compare(read, stored, window); !report.OK() || report.Sampled != 25 {
		t.Errorf("%s %v, want all 25 vouched for", report, report.Findings)
	}
}

func TestJournalDamagedInTheMiddleIsAnError(t *testing.T) {
	_, err := verify.ReadJournal("j.log", strings.NewReader("\n{\"id\":\n{\"id\":\"a\",\"timestamp\":1}\n"))
	if err == nil || !strings.Contains(err.Error(), "j.log:2:") {
		t.Errorf("got %v, want an error that names j.log:2", err)
	}
}
