package diagnose

import (
	"fmt"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/config"
)

// past is a time before this program was written: a clock that says an earlier one
// is wrong.
var past = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// Clock reports what the machine says of its clock, and what the configuration
// makes of that.
func (m *Machine) Clock(c config.Clock) Finding {
	now := m.Now().UTC()
	wrong := now.Before(past)
	synchronised, err := m.Synchronised()
	f := Finding{Level: OK, Check: "clock", Seen: now.Format(time.DateTime) + " UTC, "}
	switch {
	case err != nil:
		f.Seen += fmt.Sprintf("the kernel does not say whether it is synchronised (%v)", err)
	case synchronised:
		f.Seen += "synchronised"
	default:
		f.Seen += "not synchronised"
	}
	believed := synchronised
	switch c.Trust {
	case config.TrustAlways:
		believed = true
	case config.TrustMinimum:
		minimum, err := c.MinimumTime()
		believed = err == nil && !now.Before(minimum)
	}
	switch {
	case believed && wrong:
		f.Level, f.Seen = Fail, f.Seen+"; certainly wrong, and believed, as clock.trust is "+c.Trust
		f.Hint = clockHint + "; clock.trust: kernel believes it only when it is synchronised"
	case believed:
		f.Seen += "; believed, as clock.trust is " + c.Trust
	case c.Unsynced == config.UnsyncedSend:
		f.Level, f.Seen = Warn, f.Seen+"; not believed, as clock.trust is "+c.Trust+": readings are sent at once, marked unsynced"
		f.Hint = clockHint
	default:
		f.Level, f.Seen = Warn, f.Seen+"; not believed, as clock.trust is "+c.Trust+": readings wait in the buffer until it is"
		f.Hint = clockHint
	}
	return f
}

const clockHint = "sudo timedatectl set-ntp true; timedatectl timesync-status shows the server"
