package bme280

import (
	"testing"
)

// example is the worked example of the BMP280 datasheet, 3.12.
var example = calibration{
	T1: 27504, T2: 26435, T3: -1000,
	P1: 36477, P2: -10685, P3: 3024, P4: 2855, P5: 140, P6: -7, P7: 15500, P8: -14600, P9: 6000,
}

func TestDatasheetExample(t *testing.T) {
	centi, fine := example.temperature(519888)
	if centi != 2508 || fine != 128422 {
		t.Errorf("temperature = %d, fine %d: want 2508, 128422", centi, fine)
	}
	q8, err := example.pressure(415148, fine)
	if err != nil {
		t.Fatal(err)
	}
	// The datasheet's 100653.27 Pa are by the double formula. The integer one
	// cuts each term: 4/256 Pa less here.
	if want := int64(25767233); q8 != want {
		t.Errorf("pressure = %d/256 Pa (%.2f): want %d", q8, float64(q8)/256, want)
	}
}
