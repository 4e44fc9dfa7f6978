package agent

import (
	"context"
	"maps"
	"reflect"
	"sync"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/sample"
)

// sensor is one sensor of the configuration. It has a sampler of its own, so
// that it can come, change or go while the others keep their schedules.
type sensor struct {
	config  config.Sensor
	sampler *sample.Sampler
	running *task // nil before it is sampled
}

// sampling is what is being sampled. Its methods but stats, stalled and stop
// belong to one goroutine.
type sampling struct {
	mu      sync.Mutex
	sensors []*sensor
	past    sample.Stats // of the sensors that have ended; without Faults
	stopped bool         // for good
}

// find returns the sensor that is exactly as c says, nil if there is none.
func (s *sampling) find(c *config.Sensor) *sensor {
	for _, sensor := range s.sensors {
		if reflect.DeepEqual(&sensor.config, c) {
			return sensor
		}
	}
	return nil
}

// change makes sensors the ones that are sampled until ctx ends: it ends those
// that are not among them, waiting for their chips, and then starts the new ones.
// Those that stay do not notice.
func (s *sampling) change(ctx context.Context, sensors []*sensor) {
	stay := make(map[*sensor]bool, len(sensors))
	for _, sensor := range sensors {
		stay[sensor] = true
	}
	var leaving []*sensor
	for _, sensor := range s.sensors {
		if !stay[sensor] {
			leaving = append(leaving, sensor)
		}
	}
	end(leaving)

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sensor := range leaving {
		st := sensor.sampler.Stats()
		s.past.Sampled += st.Sampled
		s.past.Refused += st.Refused
		s.past.Missed += st.Missed
	}
	s.sensors = sensors
	if s.stopped {
		return
	}
	for _, sensor := range sensors {
		if sensor.running == nil {
			sensor.running = startTask(ctx, sensor.sampler.Run)
		}
	}
}

// stop ends sampling for good. It may be called while change is.
func (s *sampling) stop() {
	s.mu.Lock()
	s.stopped = true
	sensors := s.sensors
	s.mu.Unlock()
	end(sensors)
}

// end stops the sensors together and waits for them.
func end(sensors []*sensor) {
	for _, sensor := range sensors {
		if sensor.running != nil {
			sensor.running.cancel()
		}
	}
	for _, sensor := range sensors {
		if sensor.running != nil {
			<-sensor.running.done // a Sampler's Run returns no error
		}
	}
}

// stats are the counters since the agent was made, and the faults of now.
func (s *sampling) stats() sample.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.past
	sum.Faults = make(map[string]string)
	for _, sensor := range s.sensors {
		st := sensor.sampler.Stats()
		sum.Sampled += st.Sampled
		sum.Refused += st.Refused
		sum.Missed += st.Missed
		maps.Copy(sum.Faults, st.Faults)
	}
	return sum
}

// stalled returns the id of a sensor whose schedule makes no progress, "" if
// all do.
func (s *sampling) stalled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sensor := range s.sensors {
		if id := sensor.sampler.Stalled(); id != "" {
			return id
		}
	}
	return ""
}

// task is a function that runs in a goroutine of its own until its context
// ends.
type task struct {
	cancel context.CancelFunc
	done   chan struct{} // closed at its end
	err    error         // what it returned, once done is closed
}

func startTask(ctx context.Context, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer cancel()
		t.err = run(ctx)
	}()
	return t
}

// stop ends the task, waits for it and returns its error.
func (t *task) stop() error {
	t.cancel()
	<-t.done
	return t.err
}
