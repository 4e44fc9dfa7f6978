package systemd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// startPatience is how long a service that is not Ready counts as starting. A
	// sensor that is broken must not keep the unit in "activating". One that is on trial
	// is to fail its start instead, as the unit's TimeoutStartSec= says.
	startPatience = time.Minute
	// statusInterval is how often the status line is looked at.
	statusInterval = 10 * time.Second
	// recheck is the part of the watchdog's time after which a service that is
	// stalled is looked at again.
	recheck = 20
)

// Service is what is told of. Its methods are called from one goroutine at a
// time, and return at once.
type Service interface {
	Ready() <-chan struct{} // closed once it does what it is for
	OnTrial() bool          // it has started only once it is Ready, however long that takes
	Stalled() string        // what hangs for good, "" if nothing does
	Summary() string        // a line for people
}

// Options configure a [Notifier].
type Options struct {
	Service Service

	// Notify sends a message to systemd; nil: there is none. It may be called
	// from several goroutines.
	Notify func(state string) error

	// Watchdog is the time without a sign of life after which systemd ends the
	// process; 0: never.
	Watchdog time.Duration

	Logger *slog.Logger
}

// Notifier tells systemd of a service.
type Notifier struct {
	opts    Options
	started atomic.Bool // systemd knows that it has
	failing atomic.Bool // to notify, and it has been logged

	// What follows belongs to Run.
	stalled string // what was found to be, and logged
	told    string // the latest status line
}

// FromEnvironment returns how to notify the systemd that has started this
// process, nil if none has or the unit is not of Type=notify, and the time of its
// watchdog, 0 if it is off. The error says that the watchdog's time makes no
// sense; notify is good all the same.
func FromEnvironment() (notify func(state string) error, watchdog time.Duration, err error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, 0, nil
	}
	watchdog, err = daemon.SdWatchdogEnabled(false)
	return func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}, watchdog, err
}

// New returns a Notifier that tells nothing before [Notifier.Run].
func New(o Options) (*Notifier, error) {
	if o.Service == nil || o.Logger == nil || o.Watchdog < 0 {
		return nil, errors.New("systemd: Service and Logger are required, and Watchdog is not negative")
	}
	return &Notifier{opts: o}, nil
}

// Run tells systemd of the service until ctx ends, and then that it stops. A
// sign of life is sent every half of the watchdog's time, as
// sd_watchdog_enabled(3) asks for, as long as nothing is stalled. That systemd
// does not listen is logged; Run returns nil.
func (n *Notifier) Run(ctx context.Context) error {
	if n.opts.Notify == nil {
		return nil
	}
	defer n.tell(daemon.SdNotifyStopping)
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	summary := time.NewTicker(statusInterval)
	defer summary.Stop()
	life := time.NewTimer(0)
	defer life.Stop()
	if n.opts.Watchdog == 0 {
		life.Stop()
	}
	ready := n.opts.Service.Ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			ready = nil
			n.start()
		case <-patience.C:
			if !n.opts.Service.OnTrial() {
				n.start()
			}
		case <-summary.C:
			n.summarize()
		case <-life.C:
			life.Reset(n.live())
		}
	}
}

// Reload tells systemd that the service reads its configuration anew while
// reload is running.
func (n *Notifier) Reload(reload func()) {
	if n.opts.Notify == nil || !n.started.Load() {
		reload() // a unit that starts is not "reloading", and READY=1 would end its start
		return
	}
	// MONOTONIC_USEC is for Type=notify-reload, of systemd 253 and later; it must
	// be in the same message.
	n.tell(daemon.SdNotifyReloading + "\n" + strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
	reload()
	n.tell(daemon.SdNotifyReady + "\n" + n.line())
}

// start tells, once, that the service has started.
func (n *Notifier) start() {
	if n.started.CompareAndSwap(false, true) {
		n.told = n.line()
		n.tell(daemon.SdNotifyReady + "\n" + n.told)
	}
}

// summarize tells how the service is, if that has changed.
func (n *Notifier) summarize() {
	if line := n.line(); line != n.told {
		n.told = line
		n.tell(line)
	}
}

func (n *Notifier) line() string {
	return "STATUS=" + strings.ReplaceAll(n.opts.Service.Summary(), "\n", " ")
}

// live gives a sign of life unless the service is stalled, and returns when to
// look again.
func (n *Notifier) live() time.Duration {
	stalled := n.opts.Service.Stalled()
	if stalled != n.stalled {
		if stalled != "" {
			n.opts.Logger.Error("no progress", "stalled", stalled, "watchdog", n.opts.Watchdog)
		} else {
			n.opts.Logger.Info("progress resumed", "stalled", n.stalled)
		}
		n.stalled = stalled
	}
	if stalled != "" {
		return n.opts.Watchdog / recheck
	}
	n.tell(daemon.SdNotifyWatchdog)
	return n.opts.Watchdog / 2
}

// tell sends a message. That it cannot is logged when it begins.
func (n *Notifier) tell(state string) {
	err := n.opts.Notify(state)
	if failed := n.failing.Swap(err != nil); err != nil && !failed {
		n.opts.Logger.Warn("systemd unreachable", "error", err)
	}
}
