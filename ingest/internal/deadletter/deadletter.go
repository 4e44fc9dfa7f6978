// Package deadletter says how a message that cannot be processed is kept: as a
// record of the topic iot-dead-letter, with the original payload as its value
// and what is wrong with it in headers.
package deadletter

import (
	"strconv"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
)

// Topic is the Kafka topic of dead letters.
const Topic = "iot-dead-letter"

// MaxPayload is how much of a payload is kept. A longer one is cut, and the
// header original_length then says how long it was.
const MaxPayload = 64 << 10

// Letter is a message that cannot be processed.
type Letter struct {
	Topic   string // it came from, MQTT's or Kafka's
	Device  string // it came from, if known
	Reason  string // a stable metric label
	Detail  string // for people
	Key     []byte // of the Kafka record, if there was one
	Payload []byte
	Time    int64 // when it was received, Unix milliseconds
}

// Append adds the letter's record to b.
func Append(b *kafka.Batch, l Letter) {
	headers := []kafka.Header{
		{Key: "reason", Value: []byte(l.Reason)},
		{Key: "detail", Value: []byte(l.Detail)},
		{Key: "topic", Value: []byte(l.Topic)},
		{Key: "device", Value: []byte(l.Device)},
	}
	payload := l.Payload
	if len(payload) > MaxPayload {
		headers = append(headers, kafka.Header{Key: "original_length", Value: strconv.AppendInt(nil, int64(len(payload)), 10)})
		payload = payload[:MaxPayload]
	}
	b.Append(Topic, kafka.Record{Key: l.Key, Value: payload, Headers: headers, Time: l.Time})
}
