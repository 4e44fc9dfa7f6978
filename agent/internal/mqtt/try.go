package mqtt

import (
	"context"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Try connects as a [Client] with these options would, subscribes likewise, and
// disconnects. It publishes nothing and leaves no will. The client id must be one
// that no other client has: the broker would disconnect that one. Of the options,
// those from Device to ConnectTimeout count. An error has the reason with which a
// Client counts it.
func Try(ctx context.Context, o Options) (reason string, err error) {
	o.WriteTimeout, o.AckTimeout, o.StatusInterval = o.ConnectTimeout, o.ConnectTimeout, time.Minute
	o.BackoffMin, o.BackoffMax = time.Second, time.Second
	o.Status = func() Status { return Status{} }
	o.Logger, o.Metrics = slog.New(slog.DiscardHandler), metrics.NewSet()
	c, err := New(o)
	if err != nil {
		return connectReason(err), err
	}
	s, err := c.open(ctx, c.options(), deaf{})
	if err != nil {
		return connectReason(err), err
	}
	s.disconnect()
	return "", nil
}

// deaf is a Listener to whom nothing matters.
type deaf struct{}

func (deaf) Connected()     {}
func (deaf) Disconnected()  {}
func (deaf) Receive([]byte) {}
