package config

import (
	"cmp"
	"fmt"

	"github.com/telltale-iot/telltale/internal/settings"
)

// FixedChanges returns a problem for each setting that differs in next although
// it cannot change while the agent runs. The device and the buffer are who the
// readings are and where they are; the clock is what their times rest on; the trial
// begins with the process, whose the log is. All else can change.
func (c Config) FixedChanges(next Config) (problems settings.Problems) {
	for _, s := range c.fixed() {
		for _, n := range next.fixed() {
			if s.path == n.path && s.value != n.value {
				problems = append(problems, settings.Problem{
					Path:  s.path,
					Value: shown(n.value),
					Want:  shown(s.value) + " as before, since it changes only when the agent is started anew",
				})
			}
		}
	}
	return problems
}

type fixedSetting struct {
	path  string
	value any // comparable
}

func (c *Config) fixed() []fixedSetting {
	return []fixedSetting{
		{"device", c.Device},
		{"buffer.dir", c.Buffer.Dir},
		{"buffer.max_size", c.Buffer.MaxSize},
		{"buffer.segment_size", c.Buffer.SegmentSize},
		{"buffer.drop", c.Buffer.Drop},
		{"buffer.commit_interval", c.Buffer.CommitInterval},
		{"buffer.memory_size", c.Buffer.MemorySize},
		{"clock.trust", c.Clock.Trust},
		{"clock.minimum", c.Clock.Minimum},
		{"clock.unsynced", c.Clock.Unsynced},
		{"trial.file", c.Trial.File},
		{"log.level", c.Log.Level},
		{"log.format", c.Log.Format},
	}
}

func shown(value any) string { return cmp.Or(fmt.Sprint(value), `""`) }
