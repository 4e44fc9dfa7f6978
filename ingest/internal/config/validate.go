package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/telltale-iot/telltale/internal/settings"
)

// report is how a settings.Validator says that a value is wrong.
type report = func(path, value, want string)

const (
	day         = 24 * time.Hour
	century     = 100 * 365 * day
	maxCount    = 10_000_000 // of anything that is held in memory
	maxMessages = 100_000    // in one batch
)

// Validate reports what is wrong with the roles.
func (c Config) Validate(report report) {
	if len(c.Roles) == 0 {
		report("roles", "", "at least one role: bridge, aggregate, sink or metrics")
	}
	first := map[string]bool{}
	for i, role := range c.Roles {
		if first[role] {
			report(fmt.Sprintf("roles[%d]", i), role, "each role once")
		}
		first[role] = true
	}
}

// Validate reports what is wrong with the MQTT broker's settings.
func (m MQTT) Validate(report report) {
	settings.ValidateBroker(m.URL, m.TLS, report)
	settings.ValidateKeepAlive(m.KeepAlive, report)
	settings.Within(report, "connect_timeout", m.ConnectTimeout, 100*time.Millisecond, 10*time.Minute)
	if m.ShareGroup == "" || strings.ContainsAny(m.ShareGroup, "/+#\x00") {
		report("share_group", m.ShareGroup, "a name without /, + and #")
	}
	if strings.ContainsAny(m.SeedTopic, "+#\x00") || strings.HasPrefix(m.SeedTopic, "$") {
		report("seed_topic", m.SeedTopic, "a topic without wildcards")
	}
	if m.Username == "" && !m.Password.IsZero() {
		report("username", "", "the user that the password belongs to")
	}
}

// Validate reports what is wrong with the Kafka cluster's settings.
func (k Kafka) Validate(report report) {
	if len(k.Brokers) == 0 {
		report("brokers", "", "at least one broker")
	}
	for i, b := range k.Brokers {
		if !settings.IsHostPort(b) {
			report(fmt.Sprintf("brokers[%d]", i), b, settings.WantHostPort)
		}
	}
	if !k.TLSEnabled && k.TLS != (settings.TLS{}) {
		report("tls_enabled", "false", "true if there is a tls setting")
	}
	settings.Within(report, "partitions", k.Partitions, 1, 10_000)
	settings.Within(report, "replication", k.Replication, 1, 100)
	settings.Within(report, "retention", k.Retention, time.Minute, century)
	// What brokers take by default (group.min.session.timeout.ms and its max).
	settings.Within(report, "session_timeout", k.SessionTimeout, 6*time.Second, 30*time.Minute)
}

// Validate reports what is missing, or given and not used.
func (s SASL) Validate(report report) {
	switch {
	case s.Mechanism == "" && s.Username != "":
		report("mechanism", "", "the mechanism by which username is to authenticate")
	case s.Mechanism != "" && s.Username == "":
		report("username", "", "the user that is to authenticate")
	case s.Mechanism != "" && s.Password.IsZero():
		report("password_file", "", "the file that holds the user's password")
	}
}

// Validate reports what is wrong with the database's settings.
func (m Mongo) Validate(report report) {
	uri := m.URI.Reveal()
	if hosts, ok := cutAny(uri, "mongodb://", "mongodb+srv://"); !ok || hosts == "" {
		report("uri", "", "a connection string that begins with mongodb:// or mongodb+srv://")
	}
	// What MongoDB refuses in a database's name: manual, "Naming Restrictions".
	if m.Database == "" || len(m.Database) > 63 || strings.ContainsAny(m.Database, "/\\. \"$*<>:|?\x00") {
		report("database", m.Database, "a database's name: at most 63 bytes, none of them space or one of /\\.\"$*<>:|?")
	}
	// A TTL index counts in int32 seconds.
	if m.FramesTTL != 0 {
		settings.Within(report, "frames_ttl", m.FramesTTL, time.Minute, 68*365*day)
	}
}

func cutAny(s string, prefixes ...string) (rest string, ok bool) {
	for _, prefix := range prefixes {
		if rest, ok = strings.CutPrefix(s, prefix); ok {
			return rest, true
		}
	}
	return s, false
}

// Validate reports what is wrong with the bridge's bounds.
func (b Bridge) Validate(report report) {
	settings.Within(report, "max_unacknowledged", b.MaxUnacknowledged, 1, maxMessages)
	settings.Within(report, "batch_messages", b.BatchMessages, 1, maxMessages)
	settings.Within(report, "batch_age", b.BatchAge, 0, time.Minute)
	settings.Within(report, "max_future", b.MaxFuture, 0, 365*day)
	settings.Within(report, "max_payload", b.MaxPayload, settings.KiB, 256*settings.MiB)
	settings.Within(report, "max_unacknowledged_size", b.MaxUnacknowledgedSize, b.MaxPayload, 64*settings.GiB)
	settings.Within(report, "device_rate", b.DeviceRate, 0, maxCount)
	settings.Within(report, "device_bandwidth", b.DeviceBandwidth, 0, settings.GiB)
	settings.Within(report, "device_burst", b.DeviceBurst, time.Second, time.Hour)
}

// Validate reports what is wrong with the windows.
func (a Aggregate) Validate(report report) {
	if a.Window < time.Second || a.Window > day || day%a.Window != 0 {
		report("window", a.Window.String(), "a duration from 1s to 24h that divides 24h, such as 10s, 5m or 1h")
	}
	settings.Within(report, "reorder", a.Reorder, 0, day)
	settings.Within(report, "idle", a.Idle, 100*time.Millisecond, day)
	settings.Within(report, "retention", a.Retention, max(a.Window, time.Second), century)
	settings.Within(report, "max_open", a.MaxOpen, 1, maxCount)
}

// Validate reports what is wrong with the sink's batches.
func (s Sink) Validate(report report) {
	settings.Within(report, "batch", s.Batch, 1, maxMessages)
	settings.Within(report, "batch_age", s.BatchAge, 0, time.Minute)
}

// Validate reports what is wrong with the HTTP endpoint.
func (m Metrics) Validate(report report) {
	if !settings.IsListen(m.Listen) {
		report("listen", m.Listen, settings.WantListen)
	}
	settings.Within(report, "stale_after", m.StaleAfter, time.Second, 365*day)
	settings.Within(report, "max_sensors", m.MaxSensors, 1, maxCount)
	settings.Within(report, "max_devices", m.MaxDevices, 0, maxCount)
}

// Validate reports what is wrong with the settings of the receiver.
func (r RemoteWrite) Validate(report report) {
	const want = "the receiver as http://HOST/PATH or https://HOST/PATH"
	switch u, err := url.Parse(r.URL); {
	case r.URL == "":
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		report("url", "", want)
	case u.User != nil:
		report("url", "", want+"; user and password belong in username and password_file")
	case u.Scheme == "http" && r.TLS != (settings.TLS{}):
		report("url", "", "a url that begins with https:// if there is a tls setting")
	}
	switch {
	case r.Username == "" && !r.Password.IsZero():
		report("username", "", "the user that the password belongs to")
	case r.Username != "" && r.Password.IsZero():
		report("password_file", "", "the file that holds the user's password")
	case r.Username != "" && !r.BearerToken.IsZero():
		report("bearer_token_file", "", "either username or bearer_token_file, not both")
	}
	for _, h := range r.Headers {
		name, value, ok := strings.Cut(h, ":")
		// A header may be a secret that this is no place for: it is not shown.
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			report("headers", "", "each header as NAME: VALUE")
		} else if strings.EqualFold(name, "Authorization") {
			report("headers", "", "the credentials in password_file or bearer_token_file")
		}
	}
	settings.Within(report, "batch", r.Batch, 5, maxMessages)
	settings.Within(report, "batch_age", r.BatchAge, 0, time.Minute)
	settings.Within(report, "timeout", r.Timeout, 100*time.Millisecond, 10*time.Minute)
}
