package telemetry

import "testing"

// FuzzParseTopic: what is taken is made by Topic of a valid device, and no other
// topic is that device's.
func FuzzParseTopic(f *testing.F) {
	for _, seed := range []string{
		"telltale/v1/a/frames", "telltale/v1/a-B_9/receipts", "telltale/v1/a/status", "telltale/v1//frames", "telltale/v1/a/b/frames",
		"telltale/v1/+/frames", "telltale/v1/a/frames/", "telltale/v1/\x00/frames", "telltale/v1/a", "", "iot-frames",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		device, kind, ok := ParseTopic(topic)
		if !ok {
			if device != "" || kind != "" {
				t.Fatalf("%q is refused with device %q and kind %q", topic, device, kind)
			}
			return
		}
		if !ValidDevice(device) || Topic(device, kind) != topic {
			t.Fatalf("%q is taken for the %s of %q", topic, kind, device)
		}
	})
}
