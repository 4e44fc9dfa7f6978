package scenario

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// Office is the recording that is built in.
const Office = "office"

// surroundings are an Environment's.
type surroundings struct {
	recorded i2csim.Source // nil: none
	begin    time.Time
	series   [telemetry.Measures]func(time.Duration) float64 // nil: as recorded, or usual
}

// source returns the surroundings that e describes, which has been validated.
func (s *Scenario) source(e *Environment, begin time.Time) (i2csim.Source, error) {
	around := &surroundings{begin: begin}
	if e.Recorded != "" {
		series, err := s.recording(e.Recorded)
		if err != nil {
			return nil, fmt.Errorf("environment %s: %w", e.Name, err)
		}
		around.recorded, err = climate.NewReplay(climate.ReplayOptions{
			Series: series, Begin: begin, Offset: e.Begin, Weather: s.Seed,
		})
		if err != nil {
			return nil, err
		}
	}
	for m := range telemetry.Measure(telemetry.Measures) {
		if series := e.series(m); series.given() {
			around.series[m] = series.compile(&measures[m])
		}
	}
	return around, nil
}

func (s *Scenario) recording(name string) (*climate.Series, error) {
	if name == Office {
		return climate.Office(), nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.dir, name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return climate.ParseCSV(name, file)
}

// At implements i2csim.Source.
func (s *surroundings) At(t time.Time) i2csim.Environment {
	var q quantities
	elapsed := t.Sub(s.begin)
	if s.recorded != nil {
		q = quantitiesOf(s.recorded.At(t))
	} else {
		for m := range q {
			q[m] = measures[m].usual + measures[m].swing*math.Sin(2*math.Pi*elapsed.Hours()/24)
		}
	}
	for m, value := range s.series {
		if value != nil {
			q[m] = min(max(value(elapsed), measures[m].min), measures[m].max)
		}
	}
	return q.environment()
}

// compile makes a function of the time since the begin.
func (s *Series) compile(m *measure) func(time.Duration) float64 {
	value, _ := m.value(s.Value)
	switch s.Shape {
	case sine:
		amplitude, _ := m.difference(s.Amplitude)
		period, peak := cmp.Or(s.Period, 24*time.Hour), s.Peak
		return func(t time.Duration) float64 {
			turns := float64((t-peak)%period) / float64(period)
			return value + amplitude*math.Cos(2*math.Pi*turns)
		}
	case ramp:
		to, _ := m.value(s.To)
		from, over := s.From, s.Over
		return func(t time.Duration) float64 {
			share := min(max(float64(t-from)/float64(over), 0), 1)
			return value + (to-value)*share
		}
	case steps:
		type step struct {
			at    time.Duration
			value float64
		}
		var all []step
		for _, one := range s.Steps {
			v, _ := m.value(one.Value)
			all = append(all, step{one.At, v})
		}
		return func(t time.Duration) float64 {
			now := value
			for _, one := range all {
				if t >= one.at {
					now = one.value
				}
			}
			return now
		}
	default:
		return func(time.Duration) float64 { return value }
	}
}
