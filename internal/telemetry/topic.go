package telemetry

import "strings"

// Kind is what the messages of a topic are.
type Kind string

// The kinds of a device's topics.
const (
	Frames   Kind = "frames"   // agent to ingest: a frame, or an array of frames
	Receipts Kind = "receipts" // ingest to agent: what is safe in Kafka
	Status   Kind = "status"   // agent to all, retained: online or offline, and its state
)

// SeedTopic is where seed-compatible clients publish their frames.
const SeedTopic = "iot-frames"

const topicRoot = "telltale/v1/"

// Topic returns the device's topic of that kind: telltale/v1/{device}/{kind}.
// The device must be valid.
func Topic(device string, k Kind) string {
	return topicRoot + device + "/" + string(k)
}

// FramesFilter returns the MQTT topic filter that matches the frames of every
// device.
func FramesFilter() string { return topicRoot + "+/" + string(Frames) }

// StatusFilter returns the MQTT topic filter that matches the status of every
// device.
func StatusFilter() string { return topicRoot + "+/" + string(Status) }

// ParseTopic is the inverse of [Topic]. ok is false for anything that Topic
// does not make of a valid device and a known kind.
func ParseTopic(topic string) (device string, k Kind, ok bool) {
	rest, ok := strings.CutPrefix(topic, topicRoot)
	if !ok {
		return "", "", false
	}
	device, kind, ok := strings.Cut(rest, "/")
	if !ok || !ValidDevice(device) {
		return "", "", false
	}
	switch k := Kind(kind); k {
	case Frames, Receipts, Status:
		return device, k, true
	}
	return "", "", false
}

// MaxDevice bounds the length of a device's name, in bytes.
const MaxDevice = 64

// ValidDevice reports whether s can name a device: [A-Za-z0-9_-]{1,64}, which
// is safe as an MQTT user name, as a level of a topic and as a certificate's
// common name.
func ValidDevice(s string) bool {
	if s == "" || len(s) > MaxDevice {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// BelongsTo reports whether the sensor id may come from the device: it is the
// device's name itself, or the name, a dot and a suffix. As a device's name
// has no dot, an id belongs to one device at most.
func BelongsTo(id, device string) bool {
	suffix, ok := strings.CutPrefix(id, device)
	return ok && (suffix == "" || len(suffix) > 1 && suffix[0] == '.')
}
