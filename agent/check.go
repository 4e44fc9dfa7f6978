package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"slices"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/diagnose"
	"github.com/telltale-iot/telltale/agent/internal/mqtt"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Machine is what [Check] asks of the machine that it runs on.
type Machine = diagnose.Machine

// FileSystem is one of a [Machine].
type FileSystem = diagnose.FileSystem

// Report is what [Check] found.
type Report = diagnose.Report

// CheckOptions say what [Check] checks. Config is required, and one that
// [ParseConfig] or its flags and environment have validated.
type CheckOptions struct {
	Config     Config
	ConfigOnly bool // leave out everything but the configuration
	Offline    bool // leave the broker out

	OpenBus func(name string) (i2c.BusCloser, error) // nil: the host's
	Sysfs   fs.FS                                    // nil: the host's
	Machine *Machine                                 // nil: the host
}

// Check says what would keep an agent from its work, and what to do about it. It
// takes one reading of each chip as [Read] does, and connects to the broker under a
// client id of its own. It changes nothing on the disk, and may be called while the
// agent runs. The error is that of a configuration no agent could be made of, or of
// ctx.
func Check(ctx context.Context, o CheckOptions) (Report, error) {
	if o.OpenBus == nil {
		o.OpenBus = openHostBus
	}
	if o.Machine == nil {
		host := diagnose.Host()
		o.Machine = &host
	}
	if _, err := New(Options{Config: o.Config, OpenBus: o.OpenBus}); err != nil {
		return nil, err
	}
	report := Report{o.configuration()}
	if o.ConfigOnly {
		return report, nil
	}
	chips, err := o.chips(ctx)
	if err != nil {
		return nil, err
	}
	report = append(report, chips...)
	report = append(report, o.Machine.Disk(&o.Config.Buffer), o.Machine.Clock(o.Config.Clock))
	report = append(report, o.Machine.TLS(&o.Config.MQTT, o.Config.Device)...)
	report = append(report, o.Machine.Endpoint(&o.Config.Metrics)...)
	if !o.Offline {
		report = append(report, o.broker(ctx))
	}
	return report, ctx.Err()
}

func (o *CheckOptions) configuration() diagnose.Finding {
	chips := 0
	for _, s := range o.Config.Sensors {
		chips += len(s.Chips)
	}
	seen := fmt.Sprintf("device %s, %s, %s", o.Config.Device, count(len(o.Config.Sensors), "sensor"), count(chips, "chip"))
	return diagnose.Finding{Level: diagnose.OK, Check: "configuration", Seen: seen}
}

// chips checks the buses, and the chips on those that open.
func (o *CheckOptions) chips(ctx context.Context) (Report, error) {
	var report Report
	opens := make(map[string]bool)
	for _, s := range o.Config.Sensors {
		for _, c := range s.Chips {
			if _, known := opens[c.Bus]; known || c.Kernel() {
				continue
			}
			bus, err := o.OpenBus(c.Bus)
			if err == nil {
				_ = bus.Close() // nothing was written that could be lost
			}
			opens[c.Bus] = err == nil
			report = append(report, o.Machine.Bus(c.Bus, err))
		}
	}
	readable := o.Config
	readable.Sensors = slices.Clone(readable.Sensors)
	for i := range readable.Sensors {
		s := &readable.Sensors[i]
		s.Chips = slices.DeleteFunc(slices.Clone(s.Chips), func(c config.Chip) bool { return !c.Kernel() && !opens[c.Bus] })
	}
	readings, err := Read(ctx, Options{Config: readable, OpenBus: o.OpenBus, Sysfs: o.Sysfs})
	if err != nil {
		return nil, err
	}
	for i := range readings {
		r := &readings[i]
		report = append(report, diagnose.Chip(r.Chip, r.line(), r.Fault, r.Err))
	}
	return report, nil
}

// broker tries the connection, as a client of another id than the agent's: the broker
// would disconnect the agent that runs.
func (o *CheckOptions) broker(ctx context.Context) diagnose.Finding {
	c := &o.Config
	reason, err := mqtt.Try(ctx, mqtt.Options{
		Device:         c.Device,
		URL:            c.MQTT.URL,
		TLS:            func() (*tls.Config, error) { return c.MQTT.ClientTLS() },
		ClientID:       c.ClientID() + "-check",
		Username:       c.Username(),
		Password:       c.MQTT.Password.Reveal(),
		Receipts:       c.Uplink.Receipts,
		KeepAlive:      c.MQTT.KeepAlive,
		ConnectTimeout: c.MQTT.ConnectTimeout,
	})
	subscribed := ""
	if c.Uplink.Receipts {
		subscribed = telemetry.Topic(c.Device, telemetry.Receipts)
	}
	return diagnose.Broker(c.MQTT.URL, c.Username(), subscribed, reason, err)
}
