package diagnose

import (
	"fmt"
	"strings"
)

// brokerHints say what to do about a connection that fails, by its reason: those of
// the metric telltale_agent_mqtt_connect_errors_total.
var brokerHints = map[string]string{
	"network":              "is mqtt.url right (tls:// wants a port that speaks TLS, usually 8883), does the broker run, does the network let one through?",
	"timeout":              "nothing answers in time: does the network let one through, is it a broker? Else lengthen mqtt.connect_timeout",
	"tls":                  "the certificates do not fit: is mqtt.tls.ca_file the broker's authority, is the host in mqtt.url the name in the broker's certificate, is the clock right?",
	"tls_files":            "see the lines of tls",
	"not_authorized":       "the broker refuses user and password, or the certificate: mqtt.username, mqtt.password_file",
	"refused":              "the broker refuses the client: perhaps it takes no other client id than the agent's own",
	"subscription_refused": "the broker's access rules are to let the user read the topic of its receipts",
	"connection_lost":      "the broker closed the connection at once: its log says why",
}

// Broker reports an attempt to connect: as whom, and the reason and the error with
// which it failed. subscribed is the topic that was subscribed to, "" if none.
func Broker(url, user, subscribed, reason string, err error) Finding {
	if err != nil {
		return Finding{Fail, "broker", fmt.Sprintf("%s: %s: %s", url, reason, strings.ReplaceAll(err.Error(), "\n", "; ")), brokerHints[reason]}
	}
	seen := fmt.Sprintf("%s takes the connection of user %s", url, user)
	if subscribed != "" {
		seen += " and the subscription to " + subscribed
	}
	return Finding{OK, "broker", seen, ""}
}
