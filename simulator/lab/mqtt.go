package lab

import (
	"fmt"
	"log/slog"
	"math"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// MQTT is an embedded MQTT 3.1.1 and 5 broker.
type MQTT struct {
	server   *mqtt.Server
	listener *listeners.TCP
}

// StartMQTT starts a broker on addr (host:port; port 0 takes a free one). It
// lets every client in.
func StartMQTT(addr string, logger *slog.Logger) (*MQTT, error) {
	capabilities := mqtt.NewDefaultServerCapabilities()
	// Above its in-flight limit mochi drops messages that it has acknowledged.
	capabilities.MaximumInflight = math.MaxUint16
	capabilities.MaximumClientWritesPending = math.MaxUint16

	server := mqtt.New(&mqtt.Options{Capabilities: capabilities, Logger: logger})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return nil, fmt.Errorf("lab: mqtt: %w", err)
	}
	listener := listeners.NewTCP(listeners.Config{ID: "lab", Address: addr})
	if err := server.AddListener(listener); err != nil {
		return nil, fmt.Errorf("lab: mqtt: %w", err)
	}
	if err := server.Serve(); err != nil {
		return nil, fmt.Errorf("lab: mqtt: %w", err)
	}
	return &MQTT{server: server, listener: listener}, nil
}

// Addr returns the host:port that the broker listens on.
func (m *MQTT) Addr() string { return m.listener.Address() }

// Close disconnects all clients and stops the broker.
func (m *MQTT) Close() error { return m.server.Close() }
