package main

import (
	"fmt"
	"os"
	"time"

	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// apart is how far the replays of two neighbouring devices are shifted, so that
// their readings differ as those of two rooms do.
const apart = 7 * time.Minute

// replay returns what the chips of each device measure: the recorded series in
// file, or the office that is built in if file is "".
func replay(file string, speed int, seed uint64) (func(i int) (i2csim.Source, error), error) {
	series := climate.Office()
	// The office's recording begins at dusk; ten in the morning has light.
	offset := 16*time.Hour + 9*time.Minute
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		defer f.Close()
		if series, err = climate.ParseCSV(file, f); err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		offset = 0
	}
	begin := time.Now()
	return func(i int) (i2csim.Source, error) {
		return climate.NewReplay(climate.ReplayOptions{
			Series: series, Begin: begin, Offset: offset + time.Duration(i)*apart, Speed: float64(speed),
			Weather: seed, Seed: seed + uint64(i) + 1,
		})
	}, nil
}
