package mqtt

import "encoding/json"

// Status is the payload of the status topic, which is retained. The will has
// State, Reason and Version only. README.md of the agent documents it for those
// who read it.
type Status struct {
	State      string            `json:"state"`            // Online or Offline
	Reason     string            `json:"reason,omitempty"` // why it is offline
	Version    string            `json:"version"`
	Timestamp  int64             `json:"timestamp,omitempty"` // Unix milliseconds, while the time is known
	Uptime     int64             `json:"uptime_s,omitempty"`  // seconds since the agent was started
	Readings   uint64            `json:"readings,omitempty"`  // sampled since then
	Clock      string            `json:"clock,omitempty"`     // how far the agent's clock is to be believed
	Buffer     *Depth            `json:"buffer,omitempty"`
	Faults     map[string]string `json:"faults,omitempty"`     // the chips that fail now, with the reason
	Calibrated map[string]string `json:"calibrated,omitempty"` // the day of each calibrated chip's oldest calibration
	Losses     map[string]uint64 `json:"losses,omitempty"`     // readings declared lost since then, by reason

	CertificateExpires int64 `json:"certificate_expires,omitempty"` // when the client's certificate ends, Unix seconds
}

// Depth is what waits in the buffer.
type Depth struct {
	Frames uint64 `json:"frames"`
	Bytes  int64  `json:"bytes"`

	Used     int64 `json:"used_bytes,omitempty"`     // of Frames on the disk
	Capacity int64 `json:"capacity_bytes,omitempty"` // for which there is room at least

	Oldest int64  `json:"oldest,omitempty"` // its timestamp, Unix milliseconds
	Age    int64  `json:"oldest_age_s,omitempty"`
	Memory uint64 `json:"memory_frames,omitempty"` // of Frames, those that the disk does not take
	Fault  string `json:"fault,omitempty"`         // why it does not
}

// The states, and the reasons of the second.
const (
	Online         = "online"
	Offline        = "offline"
	Shutdown       = "shutdown"        // the agent said so itself
	ConnectionLost = "connection_lost" // the broker did, for the agent: its will
)

func (s *Status) encode() ([]byte, error) { return json.Marshal(s) }
