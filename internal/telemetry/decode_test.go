package telemetry

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// measured returns a payload of the values, in the order of the measures.
func measured(values ...Micro) (p Payload) {
	for m, v := range values {
		p.Set(Measure(m), v)
	}
	return p
}

var comparePayloads = cmp.AllowUnexported(Payload{})

func TestDecode(t *testing.T) {
	full := Frame{
		ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: 1763870400123,
		Sequenced: true, Epoch: 1763800000, Seq: 70412,
		Payload: measured(21_370_000, 44_200_000, 1013_250_000, 312_500_000),
		Faults:  Faults{Humidity: "nack"},
	}
	minimal := Frame{ID: "a", Timestamp: 1}
	tests := []struct {
		name    string
		json    string
		want    Frame
		unknown bool
		spaced  bool
	}{
		{
			name: "all fields",
			json: `{"id":"greenhouse-7","name":"Greenhouse 7","place_id":"house-2","timestamp":1763870400123,` +
				`"epoch":1763800000,"seq":70412,` +
				`"payload":{"temperature":21.37,"humidity":44.2,"pressure":1013.25,"luminosity":312.5},"faults":{"humidity":"nack"}}`,
			want: full,
		}, {
			name: "any order and white space",
			json: "\t{ \"faults\" : { \"humidity\" : \"nack\" } ,\n \"payload\": {\"luminosity\":312.5,\"pressure\":1013.25,\"humidity\":44.2,\"temperature\":21.37}, " +
				"\"seq\":70412,\"epoch\":1763800000,\"timestamp\":1763870400123,\"place_id\":\"house-2\",\"name\":\"Greenhouse 7\",\"id\":\"greenhouse-7\" }\r\n",
			want:   full,
			spaced: true,
		}, {
			name: "the seed's frame",
			json: `{"id":"12434345","name":"Sensor 1","place_id":"32347983","date":"2025-11-23T04:00:00.123Z","timestamp":1763870400123,` +
				`"payload":{"temperature":-5,"humidity":0,"pressure":1029,"luminosity":64999}}`,
			want: Frame{
				ID: "12434345", Name: "Sensor 1", PlaceID: "32347983", Timestamp: 1763870400123,
				Payload: measured(-5_000_000, 0, 1029_000_000, 64999_000_000),
			},
		},
		{name: "white space around the frame only", json: " {\"id\":\"a\",\"timestamp\":1}\n", want: minimal},
		{name: "nothing but identity", json: `{"id":"a","timestamp":1}`, want: minimal},
		{
			name: "null is absence",
			json: `{"id":"a","timestamp":1,"name":null,"place_id":null,"date":null,"epoch":null,"seq":null,` +
				`"payload":{"temperature":null},"faults":{"pressure":null},"clock":null,"lost":null}`,
			want: minimal,
		},
		{name: "null objects", json: `{"id":"a","timestamp":1,"payload":null,"raw":null,"faults":null}`, want: minimal},
		{name: "empty objects", json: `{"id":"a","timestamp":1,"payload":{},"raw":{},"faults":{}}`, want: minimal},
		{
			name: "faults alone",
			json: `{"id":"a","timestamp":1,"faults":{"temperature":"crc","luminosity":"not_ready"}}`,
			want: Frame{ID: "a", Timestamp: 1, Faults: Faults{Temperature: "crc", Luminosity: "not_ready"}},
		}, {
			name: "an unsynchronised clock",
			json: `{"id":"a","timestamp":1,"clock":"unsynced"}`,
			want: Frame{ID: "a", Timestamp: 1, Clock: ClockUnsynced},
		}, {
			name: "an estimated time, in any order",
			json: `{"clock":"\u0065stimated","timestamp":1,"faults":{"temperature":"crc"},"id":"a"}`,
			want: Frame{ID: "a", Timestamp: 1, Clock: ClockEstimated, Faults: Faults{Temperature: "crc"}},
		}, {
			name: "a clock of a later version",
			json: `{"id":"a","timestamp":1,"clock":"` + strings.Repeat("z", 32) + `"}`,
			want: Frame{ID: "a", Timestamp: 1, Clock: Clock(strings.Repeat("z", 32))},
		}, {
			name: "greatest integers",
			json: `{"id":"a","timestamp":9223372036854775807,"epoch":9007199254740991,"seq":9007199254740991}`,
			want: Frame{ID: "a", Timestamp: 1<<63 - 1, Sequenced: true, Epoch: MaxSeq, Seq: MaxSeq},
		},
		{name: "least timestamp", json: `{"id":"a","timestamp":-9223372036854775808}`, want: Frame{ID: "a", Timestamp: -1 << 63}},
		{name: "first reading", json: `{"id":"a","timestamp":1,"epoch":0,"seq":-0}`, want: Frame{ID: "a", Timestamp: 1, Sequenced: true}},
		{
			name: "declared loss",
			json: `{"id":"a","epoch":7,"lost":{"seq":[3,9],"reason":"buffer_full"}}`,
			want: Frame{ID: "a", Epoch: 7, Lost: Loss{Seqs: SeqRange{3, 9}, Reason: "buffer_full"}},
		}, {
			name: "declared loss of one reading of a named sensor",
			json: `{"lost":{"reason":"x","seq":[0,0]},"epoch":7,"id":"a","name":"A","place_id":"p","timestamp":null}`,
			want: Frame{ID: "a", Name: "A", PlaceID: "p", Epoch: 7, Lost: Loss{Reason: "x"}},
		}, {
			name: "escapes",
			json: `{"\u0069d":"\u00E9\ud83c\uDF31.a","name":"\"\\\/\b\f\n\r\t\u0000é🌱","timestamp":1}`,
			want: Frame{ID: "é🌱.a", Name: "\"\\/\b\f\n\r\t\x00é🌱", Timestamp: 1},
		},
		{name: "longest id", json: `{"id":"` + strings.Repeat("é", 64) + `","timestamp":1}`, want: Frame{ID: strings.Repeat("é", 64), Timestamp: 1}},
		{name: "longest name", json: `{"id":"a","name":"` + strings.Repeat("n", 256) + `","timestamp":1}`, want: Frame{ID: "a", Name: strings.Repeat("n", 256), Timestamp: 1}},
		{
			name:    "unknown fields",
			json:    `{"id":"a","ID":"b","timestamp":1,"x":[1,{"id":"c","id":"d","y":[]},"\u00e9",true,false,null,-1.5e+3],"":{}}`,
			want:    minimal,
			unknown: true,
		},
		{name: "unknown measure", json: `{"id":"a","timestamp":1,"payload":{"co2":{"ppm":[400]}}}`, want: minimal, unknown: true},
		{name: "unknown measure's fault", json: `{"id":"a","timestamp":1,"faults":{"co2":"nack"}}`, want: minimal, unknown: true},
		{
			name:    "unknown field of a loss",
			json:    `{"id":"a","epoch":7,"lost":{"seq":[3,9],"reason":"buffer_full","at":1}}`,
			want:    Frame{ID: "a", Epoch: 7, Lost: Loss{Seqs: SeqRange{3, 9}, Reason: "buffer_full"}},
			unknown: true,
		},
		{
			name:    "deepest",
			json:    `{"id":"a","timestamp":1,"x":` + nested(MaxDepth-1) + `}`,
			want:    minimal,
			unknown: true,
		},
	}
	var d Decoder
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Frame{ID: "left over", Sequenced: true, Payload: measured(1)}
			if err := d.Decode([]byte(test.json), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, comparePayloads); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
			if d.Unknown != test.unknown || d.Spaced != test.spaced {
				t.Errorf("Unknown %v, Spaced %v; want %v, %v", d.Unknown, d.Spaced, test.unknown, test.spaced)
			}
		})
	}
}

// nested returns n arrays in each other.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestDecodeRefuses(t *testing.T) {
	const (
		known   = `"id":"a","epoch":7,"seq":3`
		reading = `{` + known + `,"timestamp":1`
	)
	identified := Frame{ID: "a", Sequenced: true, Epoch: 7, Seq: 3}
	tests := []struct {
		json   string // with a caret before the place that the error names
		reason string
		field  string
		want   Frame // what is known of it
	}{
		// Not JSON.
		{json: `‸`, reason: ReasonNotJSON},
		{json: ` ‸`, reason: ReasonNotJSON},
		{json: `‸hello`, reason: ReasonNotJSON},
		{json: "‸\xef\xbb\xbf{}", reason: ReasonNotJSON},
		{json: reading + `}‸}`, reason: ReasonNotJSON},
		{json: reading + `} ‸{}`, reason: ReasonNotJSON},
		{json: reading + `,‸}`, reason: ReasonNotJSON},
		{json: reading + `‸`, reason: ReasonNotJSON, field: "timestamp"},
		{json: reading + ` ‸2}`, reason: ReasonNotJSON, field: "timestamp"},
		{json: `{"id"‸`, reason: ReasonNotJSON},
		{json: `{"id":‸}`, reason: ReasonNotJSON, field: "id"},
		{json: `{"id":‸'a'}`, reason: ReasonNotJSON, field: "id"},
		{json: `{"id" ‸"a"}`, reason: ReasonNotJSON},
		{json: `{‸id:"a"}`, reason: ReasonNotJSON},
		{json: `{"id":"a‸`, reason: ReasonNotJSON, field: "id"},
		{json: "{\"id\":\"a‸\n\"}", reason: ReasonNotJSON, field: "id"},
		{json: `{"id":"\‸x"}`, reason: ReasonNotJSON, field: "id"},
		{json: `{"id":"\u00‸g0"}`, reason: ReasonNotJSON, field: "id"},
		{json: `{"id":"\ud83c\u12‸"}`, reason: ReasonNotJSON, field: "id"},
		{json: `{"id":"\‸`, reason: ReasonNotJSON, field: "id"},
		{json: `{"timestamp":‸-}`, reason: ReasonNotJSON, field: "timestamp"},
		{json: `{"x":‸tru}`, reason: ReasonNotJSON},
		{json: `{"x":null‸l}`, reason: ReasonNotJSON},
		{json: `{"x":[1,‸]}`, reason: ReasonNotJSON},
		{json: `{"x":[1‸}}`, reason: ReasonNotJSON},
		{json: `{"payload":{"temperature":‸NaN}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":‸Infinity}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":‸-Infinity}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":‸.5}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":‸5.}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":‸05}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":‸+5}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":‸5e}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"payload":{"temperature":0‸x5}}`, reason: ReasonNotJSON, field: "payload.temperature"},
		{json: `{"x":` + strings.Repeat("[", maxSyntaxDepth-1) + `‸` + nested(maxSyntaxDepth), reason: ReasonNotJSON},
		// A syntax error outdoes what was rejected before it, and what is not
		// JSON has no identity.
		{json: `{` + known + `,"timestamp":"1",‸}`, reason: ReasonNotJSON},

		// Not text.
		{json: "{" + known + ",\"timestamp\":1,\"name\":\"‸\xff\"}", reason: ReasonInvalidUTF8, field: "name", want: identified},
		{json: "{" + known + ",\"timestamp\":1,\"x\":{\"y\":\"‸\xc3\"}}", reason: ReasonInvalidUTF8, want: identified},
		{json: "{" + known + ",\"timestamp\":1,\"‸\xed\xa0\x80\":1}", reason: ReasonInvalidUTF8, want: identified},
		{json: reading + `,"name":"‸\ud83c"}`, reason: ReasonInvalidUTF8, field: "name", want: identified},
		{json: reading + `,"name":"‸\ud83c\u0041"}`, reason: ReasonInvalidUTF8, field: "name", want: identified},
		{json: reading + `,"name":"‸\udf31\ud83c"}`, reason: ReasonInvalidUTF8, field: "name", want: identified},

		{json: `{"id":"‸\ud83c","epoch":7,"seq":3,"timestamp":1}`, reason: ReasonInvalidUTF8, field: "id", want: Frame{Sequenced: true, Epoch: 7, Seq: 3}},
		{json: "{\"id\":\"‸\xff\",\"epoch\":7,\"seq\":3}", reason: ReasonInvalidUTF8, field: "id", want: Frame{Sequenced: true, Epoch: 7, Seq: 3}},

		// Duplicates: of the identity none is believed.
		{json: reading + `,‸"timestamp":1}`, reason: ReasonDuplicateKey, field: "timestamp", want: identified},
		{json: reading + `,‸"id":"a"}`, reason: ReasonDuplicateKey, field: "id", want: Frame{Sequenced: true, Epoch: 7, Seq: 3}},
		{json: reading + `,‸"i\u0064":"b"}`, reason: ReasonDuplicateKey, field: "id", want: Frame{Sequenced: true, Epoch: 7, Seq: 3}},
		{json: reading + `,‸"seq":4}`, reason: ReasonDuplicateKey, field: "seq", want: Frame{ID: "a"}},
		{json: reading + `,"date":null,‸"date":null}`, reason: ReasonDuplicateKey, field: "date", want: identified},
		{json: reading + `,"payload":{"humidity":1,‸"humidity":2}}`, reason: ReasonDuplicateKey, field: "payload.humidity", want: identified},
		{json: reading + `,"raw":{"humidity":1,‸"humidity":2}}`, reason: ReasonDuplicateKey, field: "raw.humidity", want: identified},
		{json: reading + `,"raw":{},"payload":{},‸"raw":{}}`, reason: ReasonDuplicateKey, field: "raw", want: identified},
		{json: reading + `,"payload":{},‸"payload":{}}`, reason: ReasonDuplicateKey, field: "payload", want: identified},
		{json: reading + `,"clock":"unsynced",‸"clock":"unsynced"}`, reason: ReasonDuplicateKey, field: "clock", want: identified},
		{json: reading + `,"faults":{"humidity":"a",‸"humidity":"a"}}`, reason: ReasonDuplicateKey, field: "faults.humidity", want: identified},
		{json: `{"id":"a","epoch":7,"lost":{"seq":[1,2],"reason":"x",‸"seq":[1,2]}}`, reason: ReasonDuplicateKey, field: "lost.seq", want: Frame{ID: "a"}},

		// Types.
		{json: `‸1`, reason: ReasonWrongType},
		{json: `‸null`, reason: ReasonWrongType},
		{json: `‸"a"`, reason: ReasonWrongType},
		{json: `‸[` + reading + `}]`, reason: ReasonWrongType},
		{json: `{"id":‸12434345,"timestamp":1}`, reason: ReasonWrongType, field: "id"},
		{json: `{"id":‸["a"],"timestamp":1}`, reason: ReasonWrongType, field: "id"},
		{json: reading + `,"name":‸7}`, reason: ReasonWrongType, field: "name", want: identified},
		{json: reading + `,"place_id":‸{}}`, reason: ReasonWrongType, field: "place_id", want: identified},
		{json: reading + `,"date":‸1763870400123}`, reason: ReasonWrongType, field: "date", want: identified},
		{json: `{` + known + `,"timestamp":‸"1"}`, reason: ReasonWrongType, field: "timestamp", want: identified},
		{json: `{` + known + `,"timestamp":‸1e3}`, reason: ReasonWrongType, field: "timestamp", want: identified},
		{json: `{` + known + `,"timestamp":‸1.0}`, reason: ReasonWrongType, field: "timestamp", want: identified},
		{json: `{` + known + `,"timestamp":‸true}`, reason: ReasonWrongType, field: "timestamp", want: identified},
		{json: `{"id":"a","timestamp":1,"epoch":7,"seq":‸"3"}`, reason: ReasonWrongType, field: "seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","timestamp":1,"epoch":‸7.0,"seq":3}`, reason: ReasonWrongType, field: "epoch", want: Frame{ID: "a"}},
		{json: `{"id":"a","timestamp":1,"epoch":7,"seq":‸33333333333333333333E0}`, reason: ReasonWrongType, field: "seq", want: Frame{ID: "a"}},
		{json: reading + `,"payload":‸[1]}`, reason: ReasonWrongType, field: "payload", want: identified},
		{json: reading + `,"raw":‸1}`, reason: ReasonWrongType, field: "raw", want: identified},
		{json: reading + `,"raw":{"pressure":‸"1013"}}`, reason: ReasonWrongType, field: "raw.pressure", want: identified},
		{json: reading + `,"payload":{"pressure":‸"1013"}}`, reason: ReasonWrongType, field: "payload.pressure", want: identified},
		{json: reading + `,"payload":{"pressure":‸false}}`, reason: ReasonWrongType, field: "payload.pressure", want: identified},
		{json: reading + `,"faults":‸"nack"}`, reason: ReasonWrongType, field: "faults", want: identified},
		{json: reading + `,"faults":{"humidity":‸1}}`, reason: ReasonWrongType, field: "faults.humidity", want: identified},
		{json: reading + `,"clock":‸false}`, reason: ReasonWrongType, field: "clock", want: identified},
		{json: reading + `,"clock":‸{"unsynced":true}}`, reason: ReasonWrongType, field: "clock", want: identified},
		{json: `{"id":"a","epoch":7,"lost":‸[1,2]}`, reason: ReasonWrongType, field: "lost", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":‸3,"reason":"x"}}`, reason: ReasonWrongType, field: "lost.seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":‸[3],"reason":"x"}}`, reason: ReasonWrongType, field: "lost.seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":‸[3,4,5],"reason":"x"}}`, reason: ReasonWrongType, field: "lost.seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":‸[3,null],"reason":"x"}}`, reason: ReasonWrongType, field: "lost.seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":[‸"3",4],"reason":"x"}}`, reason: ReasonWrongType, field: "lost.seq", want: Frame{ID: "a"}},

		// Ranges.
		{json: reading + `,"raw":{"luminosity":‸1000000000.000001}}`, reason: ReasonOutOfRange, field: "raw.luminosity", want: identified},
		{json: reading + `,"payload":{"pressure":‸1e400}}`, reason: ReasonOutOfRange, field: "payload.pressure", want: identified},
		{json: reading + `,"payload":{"pressure":‸-1000000000.000001}}`, reason: ReasonOutOfRange, field: "payload.pressure", want: identified},
		{json: reading + `,"payload":{"pressure":‸18446744073709551616}}`, reason: ReasonOutOfRange, field: "payload.pressure", want: identified},
		{json: reading + `,"payload":{"pressure":‸9999999999999999999}}`, reason: ReasonOutOfRange, field: "payload.pressure", want: identified},
		{json: `{` + known + `,"timestamp":‸9223372036854775808}`, reason: ReasonOutOfRange, field: "timestamp", want: identified},
		{json: `{` + known + `,"timestamp":‸-9223372036854775809}`, reason: ReasonOutOfRange, field: "timestamp", want: identified},
		{json: `{` + known + `,"timestamp":‸18446744073709551617}`, reason: ReasonOutOfRange, field: "timestamp", want: identified},
		{json: `{"id":"a","timestamp":1,"epoch":7,"seq":‸-1}`, reason: ReasonOutOfRange, field: "seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","timestamp":1,"epoch":‸9007199254740992,"seq":1}`, reason: ReasonOutOfRange, field: "epoch", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":‸[4,3],"reason":"x"}}`, reason: ReasonOutOfRange, field: "lost.seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":[‸-4,3],"reason":"x"}}`, reason: ReasonOutOfRange, field: "lost.seq", want: Frame{ID: "a"}},

		// What is missing.
		{json: `{}‸`, reason: ReasonMissingID, field: "id"},
		{json: `{"timestamp":1,"epoch":7,"seq":3}‸`, reason: ReasonMissingID, field: "id", want: Frame{Sequenced: true, Epoch: 7, Seq: 3}},
		{json: `{"id":null,"timestamp":1}‸`, reason: ReasonMissingID, field: "id"},
		{json: `{` + known + `}‸`, reason: ReasonMissingTimestamp, field: "timestamp", want: identified},
		{json: `{` + known + `,"timestamp":null}‸`, reason: ReasonMissingTimestamp, field: "timestamp", want: identified},
		{json: `{"id":"a","timestamp":1,"seq":3}‸`, reason: ReasonMissingEpoch, field: "epoch", want: Frame{ID: "a"}},
		{json: `{"id":"a","timestamp":1,"epoch":7}‸`, reason: ReasonMissingSeq, field: "seq", want: Frame{ID: "a"}},
		{json: `{"id":"a","lost":{"seq":[3,4],"reason":"x"}}‸`, reason: ReasonMissingEpoch, field: "epoch", want: Frame{ID: "a"}},

		// Losses.
		{json: `{"id":"a","epoch":7,"lost":‸{"seq":[3,4]}}`, reason: ReasonBadLoss, field: "lost", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":‸{"reason":"x"}}`, reason: ReasonBadLoss, field: "lost", want: Frame{ID: "a"}},
		{json: reading + `,"lost":{"seq":[3,4],"reason":"x"}}‸`, reason: ReasonBadLoss, field: "lost", want: identified},
		{json: `{"id":"a","epoch":7,"raw":{},"lost":{"seq":[3,4],"reason":"x"}}‸`, reason: ReasonBadLoss, field: "lost", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"payload":{},"lost":{"seq":[3,4],"reason":"x"}}‸`, reason: ReasonBadLoss, field: "lost", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"clock":"unsynced","lost":{"seq":[3,4],"reason":"x"}}‸`, reason: ReasonBadLoss, field: "lost", want: Frame{ID: "a"}},
		{json: `{"id":"a","epoch":7,"lost":{"seq":[3,4],"reason":‸""}}`, reason: ReasonBadReason, field: "lost.reason", want: Frame{ID: "a"}},

		// Strings.
		{json: `{"id":‸"","timestamp":1}`, reason: ReasonBadID, field: "id"},
		{json: `{"id":‸"a/b","timestamp":1}`, reason: ReasonBadID, field: "id"},
		{json: `{"id":‸"a\u0007","timestamp":1}`, reason: ReasonBadID, field: "id"},
		{json: `{"id":‸"` + strings.Repeat("a", 129) + `","timestamp":1}`, reason: ReasonBadID, field: "id"},
		{json: reading + `,"name":‸"` + strings.Repeat("n", 257) + `"}`, reason: ReasonTooLong, field: "name", want: identified},
		{json: reading + `,"place_id":‸"` + strings.Repeat("n", 257) + `"}`, reason: ReasonTooLong, field: "place_id", want: identified},
		{json: reading + `,"faults":{"humidity":‸"No answer"}}`, reason: ReasonBadReason, field: "faults.humidity", want: identified},
		{json: reading + `,"faults":{"humidity":‸"` + strings.Repeat("r", 33) + `"}}`, reason: ReasonBadReason, field: "faults.humidity", want: identified},
		{json: reading + `,"clock":‸""}`, reason: ReasonBadReason, field: "clock", want: identified},
		{json: reading + `,"clock":‸"2025-11-23T04:00:00Z"}`, reason: ReasonBadReason, field: "clock", want: identified},

		// Depth.
		{json: reading + `,"x":[[[[[[[[[[[[[[[‸[]]]]]]]]]]]]]]]]}`, reason: ReasonTooDeep, want: identified},
		{json: reading + `,"x":[[{"y":[[[[[[[[[[[[‸{"z":[]}]]]]]]]]]]]]}]]}`, reason: ReasonTooDeep, want: identified},
		{json: `[[[[[[[[[[[[[[[[‸[]]]]]]]]]]]]]]]]]`, reason: ReasonTooDeep},
		{
			json:   `{"x":[[[[[[[[[[[[[[[‸` + nested(maxSyntaxDepth-16) + `]]]]]]]]]]]]]]],` + known + `}`,
			reason: ReasonTooDeep, want: identified,
		},
	}
	var d Decoder
	for _, test := range tests {
		before, after, _ := strings.Cut(test.json, "‸")
		t.Run(abbreviated(before+after), func(t *testing.T) {
			got := Frame{ID: "left over", Sequenced: true, Payload: measured(1)}
			err := d.Decode([]byte(before+after), &got)
			var refused *DecodeError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v, want a *DecodeError", err)
			}
			if refused.Reason != test.reason || refused.Field != test.field || refused.Offset != len(before) {
				t.Errorf("got %s %q at %d, want %s %q at %d (%v)",
					refused.Reason, refused.Field, refused.Offset, test.reason, test.field, len(before), err)
			}
			if diff := cmp.Diff(test.want, got, comparePayloads); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

// abbreviated shortens what is too long for a test's name.
func abbreviated(s string) string {
	if len(s) <= 80 {
		return s
	}
	return fmt.Sprintf("%s…(%d bytes)", s[:80], len(s))
}

func TestDecoderReusesStrings(t *testing.T) {
	data := []byte(`[{"id":"a","name":"\u0041","place_id":"Gewächshaus","timestamp":1,"faults":{"humidity":"nack"},"clock":"unsynced"},` +
		`{"id":"a","timestamp":2,"clock":"estimated"},{"id":"a","epoch":1,"lost":{"seq":[1,2],"reason":"x"}}]`)
	var d Decoder
	frames := 0
	count := func([]byte, *Frame, error) { frames++ }
	if n := testing.AllocsPerRun(100, func() {
		if err := d.Each(data, count); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if frames != 3*101 {
		t.Errorf("%d frames", frames)
	}
}

func TestDecoderIsBounded(t *testing.T) {
	var d Decoder
	var f Frame
	for i := range 3 * maxInterned {
		data := fmt.Appendf(nil, `{"id":"sensor %d","name":"%[1]d","timestamp":1}`, i)
		if err := d.Decode(data, &f); err != nil {
			t.Fatal(err)
		}
		if len(d.ids) > maxInterned || len(d.texts) > maxInterned {
			t.Fatalf("%d ids, %d texts", len(d.ids), len(d.texts))
		}
	}
	if want := fmt.Sprint("sensor ", 3*maxInterned-1); f.ID != want {
		t.Errorf("id %q, want %q", f.ID, want)
	}
}

func TestDecodeErrorText(t *testing.T) {
	tests := []struct{ json, want string }{
		{`{"id":7}`, "telemetry: id: wrong_type at byte 6: want a string"},
		{`{"x"}`, "telemetry: not_json at byte 4: want a colon"},
	}
	var d Decoder
	var f Frame
	for _, test := range tests {
		if err := d.Decode([]byte(test.json), &f); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.json, err, test.want)
		}
	}
}
