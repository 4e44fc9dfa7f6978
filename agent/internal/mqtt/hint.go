package mqtt

// Hint says what to do about a connection that fails, by its reason: those of the
// metric telltale_agent_mqtt_connect_errors_total.
func Hint(reason string) string {
	switch reason {
	case "network":
		return "is mqtt.url right (tls:// wants a port that speaks TLS, usually 8883), does the broker run, does the network let one through?"
	case "timeout":
		return "nothing answers in time: does the network let one through, is it a broker? Else lengthen mqtt.connect_timeout"
	case "connection_lost":
		return "the broker closed the connection at once: its log says why"
	}
	return refusalHint(reason)
}

// refusalHint is the hint for a reason that waiting does not mend, "" for others.
func refusalHint(reason string) string {
	switch reason {
	case "tls":
		return "the certificates do not fit: is mqtt.tls.ca_file the broker's authority, is the host in mqtt.url the name in the broker's certificate, " +
			"has mqtt.tls.cert_file expired or been revoked, has the broker's revocation list ended, is the clock right?"
	case "tls_files":
		return "files that mqtt.tls names cannot be used: telltale-agent check says which and why"
	case "not_authorized":
		return "the broker refuses user and password, or the certificate: mqtt.username, mqtt.password_file, mqtt.tls.cert_file"
	case "refused":
		return "the broker refuses the client: perhaps it takes no other client id than the agent's own"
	case "subscription_refused":
		return "the broker's access rules are to let the user read the topic of its receipts"
	}
	return ""
}

// logFailure logs why there is no connection: as an error, with what to do, if
// waiting does not mend it.
func (c *Client) logFailure(reason string, err error) {
	log := c.opts.Logger.With("url", c.opts.URL, "reason", reason, "error", err)
	if hint := refusalHint(reason); hint != "" {
		log.Error("broker refuses the agent", "user", c.opts.Username, "hint", hint)
		return
	}
	log.Warn("broker unavailable")
}
