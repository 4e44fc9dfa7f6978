package bridge

import (
	"errors"
	"fmt"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/latency"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The reasons of dead letters, beside those of a telemetry.DecodeError.
const (
	reasonTooLarge   = "too_large"         // a payload beyond Options.MaxPayload, as it came or decompressed
	reasonCompressed = "bad_compression"   // a payload that begins as a zstd frame and is none
	reasonBadTopic   = "bad_topic"         // not a topic of frames, or not of a valid device
	reasonForeignID  = "foreign_id"        // a sensor that is not the topic's device's
	reasonBefore2000 = "before_2000"       // a timestamp from before the first sensible one
	reasonInFuture   = "in_future"         // a timestamp beyond the clock and Options.MaxFuture
	reasonRejected   = "rejected_by_kafka" // Kafka answered that it will never take the record

	// A message of more refused frames than have dead letters of their own.
	reasonManyRefused = "many_refused"
)

// Headers, see README.md; the others of a dead letter are package deadletter's.
const (
	headerDevice   = "device"
	headerOriginal = "original_length"
)

// refusedPrefix begins the reason of a loss that the bridge declares.
const refusedPrefix = "refused_"

// maxLetters bounds the dead letters of one message. Each is many times the size
// of the smallest refused frame: without a bound a payload of 256 KiB that
// consists of commas makes 130,000.
const maxLetters = 100

// intake turns messages into records. Its memory is reused, so that a frame of
// a known sensor costs no allocation.
type intake struct {
	options *Options
	decoder telemetry.Decoder
	unpack  decompressor
	each    func(raw []byte, f *telemetry.Frame, err error) // the method, bound once

	// Of the message at hand:
	out      *batch
	topic    string
	device   string // "" on the seed topic
	retained bool
	now      int64 // Unix milliseconds
	frames   int   // so far
	refused  int   // of them

	key, value, deviceHeader []byte
	headers                  [1]kafka.Header
}

func (in *intake) init(o *Options) {
	in.options = o
	in.unpack.limit = o.MaxPayload
	in.each = in.frame
}

// origin is whose a message is.
type origin struct {
	seed   bool
	device string // "" if it is no valid device's
	err    error  // what is wrong with the topic
}

// route finds whose topic it is.
func (in *intake) route(topic string) origin {
	if topic == in.options.SeedTopic {
		return origin{seed: true}
	}
	device, kind, ok := telemetry.ParseTopic(topic)
	if !ok || kind != telemetry.Frames {
		return origin{err: errBadTopic}
	}
	return origin{device: device}
}

var errBadTopic = errors.New("not a topic of frames")

// add takes the frames of m, received at now, into out. It returns how many there
// were, refused ones included, and the size of what it took them from: the
// payload's, decompressed.
func (in *intake) add(out *batch, m Message, from origin, now int64) (frames int, size int64) {
	in.out, in.topic, in.device, in.retained, in.now = out, m.Topic, from.device, m.Retained, now
	in.frames, in.refused = 0, 0
	out.acks = append(out.acks, m.Ack)
	m.Ack = nil
	if from.seed {
		in.options.Metrics.seedMessages.Inc()
	} else {
		in.options.Metrics.deviceMessages.Inc()
	}
	if from.err != nil {
		in.letter(m.Payload, reasonBadTopic, from.err.Error())
		return 0, int64(len(m.Payload))
	}
	text, reason, detail := in.text(m.Payload)
	if reason != "" {
		in.letter(m.Payload, reason, detail)
		return 0, int64(len(m.Payload))
	}
	if err := in.decoder.Each(text, in.each); err != nil {
		reason, detail := explain(err)
		in.letter(text, reason, detail)
	}
	if in.refused > maxLetters {
		in.letter(text, reasonManyRefused, fmt.Sprintf("%d frames refused, of which the first %d have dead letters of their own", in.refused, maxLetters))
	}
	return in.frames, int64(len(text))
}

// text returns the JSON text of a payload, or why the payload is refused. Only
// devices compress: the clients of the seed topic never did.
func (in *intake) text(payload []byte) (text []byte, reason, detail string) {
	allowed := in.options.MaxPayload
	if int64(len(payload)) > allowed {
		return nil, reasonTooLarge, fmt.Sprintf("%d bytes, of which %d are allowed", len(payload), allowed)
	}
	if in.device == "" || !compressed(payload) {
		return payload, "", ""
	}
	in.options.Metrics.compressed.Inc()
	text, err := in.unpack.decompress(payload)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, reasonTooLarge, fmt.Sprintf("decompressed, it or its window is more than the %d bytes that are allowed", allowed)
	case err != nil:
		return nil, reasonCompressed, err.Error()
	}
	return text, "", ""
}

// frame takes one frame; err says why it could not be decoded.
func (in *intake) frame(raw []byte, f *telemetry.Frame, err error) {
	in.options.Metrics.frames.Inc()
	in.frames++
	if reason, detail := in.check(f, err); reason != "" {
		if in.refused++; in.refused <= maxLetters {
			in.letter(raw, reason, detail)
		} else {
			in.options.Metrics.deadLetters.WithLabelValues(reason).Inc()
		}
		in.declare(f, reason)
		return
	}
	if in.decoder.Unknown || in.decoder.Spaced {
		in.value = telemetry.AppendFrame(in.value[:0], f)
		raw = in.value
	}
	in.write(f, raw)
}

// check returns why f is refused, if it is.
func (in *intake) check(f *telemetry.Frame, err error) (reason, detail string) {
	switch {
	case err != nil:
		return explain(err)
	case in.device == "" && (f.Sequenced || f.IsLoss()):
		// An epoch would let anyone take the place of a device's frames.
		return reasonForeignID, fmt.Sprintf("id %q has an epoch: it must come by its device's topic", f.ID)
	case in.device != "" && !telemetry.BelongsTo(f.ID, in.device):
		return reasonForeignID, fmt.Sprintf("id %q is not of device %q", f.ID, in.device)
	case f.IsLoss():
		return "", ""
	case f.Timestamp < telemetry.MinTimestamp:
		return reasonBefore2000, fmt.Sprintf("timestamp %d", f.Timestamp)
	case f.Timestamp > in.now+in.options.MaxFuture.Milliseconds():
		ahead := time.Duration(min(f.Timestamp-in.now, int64(24*time.Hour/time.Millisecond)*366)) * time.Millisecond
		return reasonInFuture, fmt.Sprintf("timestamp %d is %v ahead, of which %v are allowed", f.Timestamp, ahead, in.options.MaxFuture)
	}
	return "", ""
}

func explain(err error) (reason, detail string) {
	var de *telemetry.DecodeError
	if errors.As(err, &de) {
		return de.Reason, de.Error()
	}
	return "undecodable", err.Error()
}

// declare says that a refused frame is lost, so that its device can free it
// and the record tells why it is missing. Who may not send a frame may not
// declare it lost either.
func (in *intake) declare(f *telemetry.Frame, reason string) {
	if !f.Sequenced || f.IsLoss() || in.device == "" || !telemetry.BelongsTo(f.ID, in.device) {
		return
	}
	lost := telemetry.Frame{ID: f.ID, Epoch: f.Epoch, Lost: telemetry.Loss{
		Seqs:   telemetry.SeqRange{First: f.Seq, Last: f.Seq},
		Reason: refusedPrefix + reason,
	}}
	in.value = telemetry.AppendFrame(in.value[:0], &lost)
	in.write(&lost, in.value)
	in.options.Metrics.losses.Inc()
}

// write adds f, encoded as value, and its receipt.
func (in *intake) write(f *telemetry.Frame, value []byte) {
	in.key = append(in.key[:0], f.ID...)
	in.deviceHeader = append(in.deviceHeader[:0], in.device...)
	in.headers[0] = kafka.Header{Key: headerDevice, Value: in.deviceHeader}
	in.out.records.Append(FramesTopic, kafka.Record{Key: in.key, Value: value, Headers: in.headers[:], Time: in.now})
	// What the broker had kept is delivered again at each subscription.
	if !in.retained && latency.Known(f) {
		in.out.sampled = append(in.out.sampled, f.Timestamp)
	}
	switch {
	case f.IsLoss():
		in.out.receipts.of(in.device).Add(f.ID, f.Epoch, f.Lost.Seqs)
	case f.Sequenced:
		in.out.receipts.of(in.device).Add(f.ID, f.Epoch, telemetry.SeqRange{First: f.Seq, Last: f.Seq})
	}
}
