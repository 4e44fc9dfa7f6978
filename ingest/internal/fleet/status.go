package fleet

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The bounds of a status. What is beyond them is no agent's.
const (
	MaxPayload = 16 << 10 // bytes
	maxText    = 128      // bytes of a version or a chip's name
	maxChips   = 64       // that fail
	maxReasons = 16       // of losses
	maxNumber  = 1 << 53  // what a float64 holds exactly
)

// The reasons for which a status is refused.
const (
	reasonTopic    = "bad_topic"
	reasonTooLarge = "too_large"
	reasonNotJSON  = "not_json"  // or of another form
	reasonValue    = "bad_value" // a field is beyond its bounds
	reasonDevices  = "too_many_devices"
)

// status is the payload of a status topic, as far as it is shown.
type status struct {
	State     string            `json:"state"`
	Version   string            `json:"version"`
	Timestamp int64             `json:"timestamp"` // Unix milliseconds; 0: not known
	Uptime    int64             `json:"uptime_s"`
	Readings  *int64            `json:"readings"`
	Clock     string            `json:"clock"`
	Expires   int64             `json:"certificate_expires"` // Unix seconds; 0: none
	Buffer    *depth            `json:"buffer"`
	Faults    map[string]string `json:"faults"`
	Losses    map[string]int64  `json:"losses"`
}

type depth struct {
	Frames   int64  `json:"frames"`
	Bytes    int64  `json:"bytes"`
	Used     int64  `json:"used_bytes"`
	Capacity int64  `json:"capacity_bytes"` // 0: not told
	Oldest   int64  `json:"oldest"`         // Unix milliseconds; 0: none, or not known
	Memory   int64  `json:"memory_frames"`
	Fault    string `json:"fault"`
}

// LossReasons returns the reasons for which agents declare readings lost. A series
// that begins with them at 0 shows the first loss as an increase.
func LossReasons() []string { return []string{"buffer_full", "corrupt", "disk_error", "power_cut"} }

// The states of a device.
const (
	online  = "online"
	offline = "offline"
)

// parse decodes a status. If it is refused, reason is why, for a metric, and err
// for people. Unknown fields are passed over: they are a later agent's.
func parse(payload []byte) (s status, reason string, err error) {
	if len(payload) > MaxPayload {
		return s, reasonTooLarge, fmt.Errorf("%d bytes: want at most %d", len(payload), MaxPayload)
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return s, reasonNotJSON, err
	}
	if err := s.check(); err != nil {
		return s, reasonValue, err
	}
	return s, "", nil
}

func (s *status) check() error {
	if s.State != online && s.State != offline {
		return fmt.Errorf("state %.40q: want online or offline", s.State)
	}
	if !isText(s.Version) {
		return fmt.Errorf("version: want at most %d bytes of text", maxText)
	}
	if s.Clock != "" && !telemetry.ValidReason(s.Clock) {
		return fmt.Errorf("clock %.40q: want a word", s.Clock)
	}
	numbers := map[string]int64{"timestamp": s.Timestamp, "uptime_s": s.Uptime, "certificate_expires": s.Expires}
	if s.Readings != nil {
		numbers["readings"] = *s.Readings
	}
	if b := s.Buffer; b != nil {
		if b.Fault != "" && !telemetry.ValidReason(b.Fault) {
			return fmt.Errorf("buffer.fault %.40q: want a word", b.Fault)
		}
		for name, n := range map[string]int64{
			"frames": b.Frames, "bytes": b.Bytes, "used_bytes": b.Used, "capacity_bytes": b.Capacity, "oldest": b.Oldest, "memory_frames": b.Memory,
		} {
			numbers["buffer."+name] = n
		}
	}
	if len(s.Faults) > maxChips || len(s.Losses) > maxReasons {
		return fmt.Errorf("%d faults and %d losses: want at most %d and %d", len(s.Faults), len(s.Losses), maxChips, maxReasons)
	}
	for chip, reason := range s.Faults {
		if chip == "" || !isText(chip) || !telemetry.ValidReason(reason) {
			return fmt.Errorf("faults: %.40q: %.40q: want a chip and a word", chip, reason)
		}
	}
	for reason, n := range s.Losses {
		if !telemetry.ValidReason(reason) {
			return fmt.Errorf("losses: %.40q: want a word", reason)
		}
		numbers["losses."+reason] = n
	}
	for name, n := range numbers {
		if n < 0 || n > maxNumber {
			return fmt.Errorf("%s is %d: want 0 to 2^53", name, n)
		}
	}
	return nil
}

func isText(s string) bool { return len(s) <= maxText && utf8.ValidString(s) }

// driverOf returns the kind of a chip named driver@bus:address.
func driverOf(chip string) string {
	driver, _, _ := strings.Cut(chip, "@")
	return driver
}
