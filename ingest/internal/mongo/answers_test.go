package mongo

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// What a server may answer (MongoDB, error_codes.yml and the specification of
// retryable writes). The labels are what it tells a driver to do.

func done(n int) bson.D { return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: n}} }

func failed(code int, labels ...string) bson.D {
	return bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: code}, {Key: "errmsg", Value: fmt.Sprint("error ", code)}, {Key: "errorLabels", Value: labels}}
}

// someFailed answers for n done and, by index, the codes of those that were not.
func someFailed(n int, codes map[int]int) bson.D {
	var errs bson.A
	for _, index := range []int{0, 1, 2} {
		if code, ok := codes[index]; ok {
			errs = append(errs, bson.D{{Key: "index", Value: index}, {Key: "code", Value: code}, {Key: "errmsg", Value: fmt.Sprint("error ", code)}})
		}
	}
	return append(done(n), bson.E{Key: "writeErrors", Value: errs})
}

func notReplicated(answer bson.D, code int, labels ...string) bson.D {
	return append(answer, bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: code}, {Key: "errmsg", Value: "not by a majority"}}},
		bson.E{Key: "errorLabels", Value: labels})
}

const retryable = "RetryableWriteError"

// outcome says in short what became of each document, or of all.
func outcome(answers []error, err error, there error) string {
	if err != nil {
		return "again"
	}
	words := make([]string, len(answers))
	for i, answer := range answers {
		switch {
		case answer == nil:
			words[i] = "stored"
		case errors.Is(answer, there):
			words[i] = "there"
		default:
			words[i] = "refused"
		}
	}
	return strings.Join(words, " ")
}

// TestAnswers: what becomes of three frames, by what the server answers. What
// was the document's fault is final; all else is "again", for the caller to
// repeat; and the driver repeats by itself what the server labels so.
func TestAnswers(t *testing.T) {
	type row struct {
		answers  []bson.D
		want     string
		commands int
	}
	rows := map[string]row{
		"stored":                     {[]bson.D{done(3)}, "stored stored stored", 1},
		"one is there":               {[]bson.D{someFailed(2, map[int]int{1: 11000})}, "stored there stored", 1},
		"one is refused":             {[]bson.D{someFailed(2, map[int]int{2: 121})}, "stored stored refused", 1},
		"one is there, one not":      {[]bson.D{someFailed(1, map[int]int{0: 11000, 2: 10334})}, "there stored refused", 1},
		"refused and passing":        {[]bson.D{someFailed(1, map[int]int{0: 121, 1: 112})}, "again", 1},
		"there and passing":          {[]bson.D{someFailed(1, map[int]int{0: 11000, 2: 10107})}, "again", 1},
		"no majority in time":        {[]bson.D{notReplicated(done(3), 64)}, "again", 1},
		"no majority, one there":     {[]bson.D{notReplicated(someFailed(2, map[int]int{0: 11000}), 64)}, "again", 1},
		"no such write concern":      {[]bson.D{notReplicated(done(3), 79)}, "again", 1},
		"too few members":            {[]bson.D{notReplicated(done(3), 100)}, "again", 1},
		"stepped down after":         {[]bson.D{notReplicated(done(3), 189, retryable), done(3)}, "stored stored stored", 2},
		"shut down after":            {[]bson.D{notReplicated(done(3), 91, retryable), notReplicated(done(3), 91, retryable), done(3)}, "stored stored stored", 3},
		"not the primary":            {[]bson.D{failed(10107, retryable), done(3)}, "stored stored stored", 2},
		"not the primary, no writes": {[]bson.D{failed(189, retryable), failed(10107, retryable, "NoWritesPerformed"), done(3)}, "stored stored stored", 3},
		"the connection breaks":      {[]bson.D{nil, done(3)}, "stored stored stored", 2},
		"overloaded":                 {[]bson.D{failed(462, "SystemOverloadedError", "RetryableError"), done(3)}, "stored stored stored", 2},
		"repeated, and there":        {[]bson.D{nil, someFailed(0, map[int]int{0: 11000, 1: 11000, 2: 11000})}, "there there there", 2},
	}
	for _, code := range []int{2, 9, 14, 15, 22, 52, 53, 55, 56, 57, 121, 10334, 17419, 17420} {
		rows[fmt.Sprint("the document's fault ", code)] = row{[]bson.D{someFailed(2, map[int]int{1: code})}, "stored refused stored", 1}
	}
	// Of one write, and of the command without a label to repeat it.
	for _, code := range []int{1, 6, 7, 13, 18, 24, 46, 50, 61, 64, 89, 91, 112, 133, 134, 189, 262, 371, 8000, 9001, 10058, 10107, 11600, 11601, 11602, 13435, 13436, 14031} {
		rows[fmt.Sprint("passing, of one ", code)] = row{[]bson.D{someFailed(2, map[int]int{1: code})}, "again", 1}
		rows[fmt.Sprint("passing, of all ", code)] = row{[]bson.D{failed(code)}, "again", 1}
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, row.answers...)
			c := open(t, Options{URI: "mongodb://" + s.addr() + "/?replicaSet=rs", Database: "iot"})
			answers, err := c.PutFrames(t.Context(), []sink.Frame{frame("a", 0), frame("a", 1), frame("a", 2)})
			if got := outcome(answers, err, sink.ErrDuplicate); got != row.want {
				t.Errorf("%s (%v, %v), want %s", got, answers, err, row.want)
			}
			asked := s.commands()
			if len(asked) != row.commands {
				t.Fatalf("%d commands, want %d", len(asked), row.commands)
			}
			for _, command := range asked {
				// A primary does a write of this number once.
				if command["txnNumber"] == nil || command["txnNumber"] != asked[0]["txnNumber"] {
					t.Errorf("transaction number %v, the first had %v", command["txnNumber"], asked[0]["txnNumber"])
				}
			}
		})
	}
}

// TestAnswersToReplacements: where the server accounts for each, each has its
// answer; else they are done once more, one by one.
func TestAnswersToReplacements(t *testing.T) {
	const conflict = 11000
	for name, row := range map[string]struct {
		answers  []bson.D
		want     string
		commands int
	}{
		"all":                    {[]bson.D{done(3)}, "stored stored stored", 1},
		"one lost":               {[]bson.D{someFailed(2, map[int]int{1: conflict})}, "stored there stored", 1},
		"one lost, one refused":  {[]bson.D{someFailed(1, map[int]int{0: conflict, 1: 17419})}, "there refused stored", 1},
		"all lost":               {[]bson.D{someFailed(0, map[int]int{0: conflict, 1: conflict, 2: conflict})}, "there there there", 1},
		"FerretDB stops at one":  {[]bson.D{someFailed(0, map[int]int{0: conflict}), someFailed(0, map[int]int{0: conflict}), someFailed(0, map[int]int{0: conflict}), done(1)}, "there there stored", 4},
		"and then not available": {[]bson.D{someFailed(0, map[int]int{0: conflict}), done(1), failed(13)}, "again", 3},
		"one is passing":         {[]bson.D{someFailed(2, map[int]int{2: 112})}, "again", 1},
		"no majority":            {[]bson.D{notReplicated(someFailed(2, map[int]int{2: conflict}), 64)}, "again", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, row.answers...)
			c := open(t, Options{URI: "mongodb://" + s.addr() + "/?replicaSet=rs", Database: "iot"})
			var documents []*window.Document
			for _, id := range []string{"a", "b", "c"} {
				documents = append(documents, document(t, counted(t, id, 0), 2))
			}
			answers, err := c.PutSensors(t.Context(), documents)
			if got := outcome(answers, err, window.ErrConflict); got != row.want {
				t.Errorf("%s (%v, %v), want %s", got, answers, err, row.want)
			}
			if n := len(s.commands()); n != row.commands {
				t.Errorf("%d commands, want %d", n, row.commands)
			}
		})
	}
}

// TestAnswersToLosses: a declaration that the database refuses is never given
// up: it is what explains a gap.
func TestAnswersToLosses(t *testing.T) {
	for name, row := range map[string]struct {
		answer bson.D
		again  bool
	}{
		"stored":  {done(1), false},
		"there":   {someFailed(0, map[int]int{0: 11000}), false},
		"refused": {someFailed(0, map[int]int{0: 121}), true},
		"passing": {failed(13), true},
	} {
		s := play(t, row.answer)
		c := open(t, Options{URI: "mongodb://" + s.addr() + "/?replicaSet=rs", Database: "iot"})
		if err := c.PutLosses(t.Context(), []window.Declared{lossOf("a", 1, 2, 3)}); (err != nil) != row.again {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnswersToQueries: the driver repeats what the codes allow; the rest is
// the caller's to repeat, and no error is an empty result.
func TestAnswersToQueries(t *testing.T) {
	batch := func(cursor int64, documents ...any) bson.D {
		return bson.D{{Key: "ok", Value: 1}, {Key: "cursor", Value: bson.D{
			{Key: "id", Value: cursor}, {Key: "ns", Value: "iot.x"}, {Key: "firstBatch", Value: append(bson.A{}, documents...)},
		}}}
	}
	none, more := batch(0), batch(7, bson.D{{Key: "sensor_id", Value: "a"}})
	for name, row := range map[string]struct {
		answers  []bson.D
		again    bool
		commands int
	}{
		"none":                  {[]bson.D{none}, false, 1},
		"not the primary":       {[]bson.D{failed(10107), none}, false, 2},
		"the connection breaks": {[]bson.D{nil, none}, false, 2},
		"no right":              {[]bson.D{failed(13)}, true, 1},
		"in the midst of it":    {[]bson.D{more, failed(43)}, true, 3}, // and the cursor is closed
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, row.answers...)
			c := open(t, Options{URI: "mongodb://" + s.addr() + "/?replicaSet=rs", Database: "iot"})
			found, err := c.Sensors(t.Context(), []string{"a/0-1"})
			if (err != nil) != row.again || len(found) != 0 {
				t.Errorf("%v, %v", found, err)
			}
			if n := len(s.commands()); n != row.commands {
				t.Errorf("%d commands, want %d", n, row.commands)
			}
		})
	}
}

// TestAnswersToIndexes: what the server will never make is logged and keeps no
// other index; all else is an error, to be repeated.
func TestAnswersToIndexes(t *testing.T) {
	const all = 8 // seven and the list of what is there
	for _, code := range []int{2, 9, 59, 67, 72, 85, 86, 115, 197, 238, 6, 13, 18, 91, 117, 189, 276, 371, 10107, 11602} {
		final := strings.Contains(" 2 9 59 67 72 85 86 115 197 238 ", fmt.Sprintf(" %d ", code))
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s := play(t, done(0), failed(code))
			c := open(t, Options{
				URI: "mongodb://" + s.addr() + "/?replicaSet=rs", Database: "iot", Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			err := c.EnsureIndexes(t.Context())
			// The list is answered without a cursor, which is a passing error.
			if err == nil || strings.Contains(err.Error(), fmt.Sprint("error ", code)) == final {
				t.Errorf("error %v", err)
			}
			if logged := strings.Contains(log.String(), "does not make or change an index; going on without"); logged != final {
				t.Errorf("logged %q", log.String())
			}
			if n := len(s.commands()); n != all {
				t.Errorf("%d commands, want %d", n, all)
			}
		})
	}
	t.Run("no majority", func(t *testing.T) {
		s := play(t, notReplicated(done(0), 64))
		c := open(t, Options{URI: "mongodb://" + s.addr() + "/?replicaSet=rs", Database: "iot"})
		if err := c.EnsureIndexes(t.Context()); err == nil || !strings.Contains(err.Error(), "not by a majority") {
			t.Errorf("error %v", err)
		}
	})
}

// TestOversized: a document that the database would not take is not sent.
func TestOversized(t *testing.T) {
	s := play(t, done(1))
	c := open(t, Options{URI: "mongodb://" + s.addr() + "/?replicaSet=rs", Database: "iot"})
	large := frame("a", 0)
	large.Name = strings.Repeat("x", maxDocument)
	answers, err := c.PutFrames(t.Context(), []sink.Frame{large, frame("a", 1)})
	if err != nil || !errors.Is(answers[0], errTooLarge) || answers[1] != nil {
		t.Errorf("answers %v, %v", answers, err)
	}
	if asked := s.commands(); len(asked) != 1 || len(asked[0]["documents"].([]bson.Raw)) != 1 {
		t.Errorf("sent %v", asked)
	}
}
