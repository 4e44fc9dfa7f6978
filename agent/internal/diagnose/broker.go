package diagnose

import (
	"fmt"
	"strings"

	"github.com/telltale-iot/telltale/agent/internal/mqtt"
)

// Broker reports an attempt to connect: as whom, and the reason and the error with
// which it failed. subscribed is the topic that was subscribed to, "" if none.
func Broker(url, user, subscribed, reason string, err error) Finding {
	if err != nil {
		return Finding{Fail, "broker", fmt.Sprintf("%s: %s: %s", url, reason, strings.ReplaceAll(err.Error(), "\n", "; ")), mqtt.Hint(reason)}
	}
	seen := fmt.Sprintf("%s takes the connection of user %s", url, user)
	if subscribed != "" {
		seen += " and the subscription to " + subscribed
	}
	return Finding{OK, "broker", seen, ""}
}
