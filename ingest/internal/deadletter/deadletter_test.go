package deadletter

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
)

func TestAppend(t *testing.T) {
	long := bytes.Repeat([]byte("x"), MaxPayload+1)
	common := []kafka.Header{
		{Key: "reason", Value: []byte("not_json")}, {Key: "detail", Value: []byte("at 3")},
		{Key: "topic", Value: []byte("iot-frames")}, {Key: "device", Value: []byte("d")},
	}
	cut := append(common[:4:4], kafka.Header{Key: "original_length", Value: []byte("65537")})
	for name, c := range map[string]struct {
		payload []byte
		want    kafka.Record
	}{
		"short": {[]byte("{"), kafka.Record{Key: []byte("k"), Value: []byte("{"), Headers: common, Time: 5}},
		"long":  {long, kafka.Record{Key: []byte("k"), Value: long[:MaxPayload], Headers: cut, Time: 5}},
	} {
		var b kafka.Batch
		Append(&b, Letter{Topic: "iot-frames", Device: "d", Reason: "not_json", Detail: "at 3", Key: []byte("k"), Payload: c.payload, Time: 5})
		topic, got := b.Record(0)
		if diff := cmp.Diff(c.want, got); topic != Topic || diff != "" {
			t.Errorf("%s: topic %q, -want +got:\n%s", name, topic, diff)
		}
	}
}
