package main

// The series of readings have one set of labels whether they are scraped or
// written. The maximum over the processes that show a sensor is one of them.
const (
	chosen   = `place_id=~"$place_id",sensor_id=~"$sensor"`
	bySensor = `max by (place_id, sensor_id, sensor_name) `
	byPlace  = `avg by (place_id) `
	ages     = `time() - ` + bySensor + `(max_over_time(telltale_reading_timestamp_seconds{` + chosen + `}[$__range]))`

	sensorLegend = "{{place_id}} · {{sensor_name}}"
)

// The colours of an age: sensors are read every few seconds, and late after a
// minute.
var ageSteps = []step{{0, "green"}, {30, "yellow"}, {60, "orange"}, {300, "red"}}

// measure is one of the four, in the unit that people in the field use.
type measure struct{ title, unit, series, factor, normal string }

var measures = []measure{
	{"Temperature", "celsius", "telltale_temperature_celsius", "", "Normal: indoors 15 to 30 °C, no steps; a sensor apart from its neighbours is in the sun, near a heater, or badly calibrated."},
	{"Relative humidity", "humidity", "telltale_relative_humidity_ratio", "100 * ", "Normal: indoors 30 to 60 %, against the temperature; 0 or 100 % for long is a broken chip."},
	{"Pressure", "pressurehpa", "telltale_pressure_pascals", "0.01 * ", "Normal: 950 to 1050 hPa at low altitude, the same course at all sensors of a site."},
	{"Illuminance", "lux", "telltale_illuminance_lux", "", "Normal: 0 in the dark, some hundreds in an office, up to 100 000 lx in the sun."},
}

func sensors() board {
	var of, at []panel
	for _, m := range measures {
		of = append(of, panel{
			kind: lines, title: m.title, unit: m.unit, description: "The latest reading of each sensor. " + m.normal,
			queries: []query{{m.factor + bySensor + "(" + m.series + "{" + chosen + "})", sensorLegend}},
		})
		at = append(at, panel{
			kind: lines, title: m.title + " by place", unit: m.unit,
			description: "The mean of a place's sensors. " + m.normal,
			queries:     []query{{m.factor + byPlace + "(" + m.series + "{" + chosen + "})", "{{place_id}}"}},
		})
	}
	return board{
		uid: "telltale-sensors", title: "telltale · sensors",
		description: "What the sensors measure, how fresh it is, and which of them fail.",
		variables: []variable{
			{"place_id", "Place", "Where the sensors are", "telltale_reading_timestamp_seconds", "place_id"},
			{"sensor", "Sensor", "The sensors of these places", `telltale_reading_timestamp_seconds{place_id=~"$place_id"}`, "sensor_id"},
		},
		rows: []row{
			{"Now", []panel{
				{
					kind: number, title: "Sensors", unit: "short", description: "Sensors with a reading in the selected time. Normal: all that are installed.",
					queries: []query{{"count(" + ages + ")", "sensors"}},
				},
				{
					kind: number, title: "Late by a minute", unit: "short", runbook: "sensor-silent", steps: []step{{0, "green"}, {1, "red"}},
					description: "Sensors whose latest reading is older than a minute. Normal: 0.",
					queries:     []query{{"sum((" + ages + ") > bool 60)", "late"}},
				},
				{
					kind: number, title: "Oldest", unit: "s", runbook: "sensor-silent", steps: ageSteps,
					description: "The age of the reading of the sensor that is behind most. Normal: less than twice the interval of sampling.",
					queries:     []query{{"max(" + ages + ")", "oldest"}},
				},
				{
					kind: number, title: "Measures that fail", unit: "short", runbook: "chip-fails", steps: []step{{0, "green"}, {1, "red"}},
					description: "Measures that the latest readings lack, as their chip does not answer. Normal: 0.",
					queries:     []query{{"sum(max by (sensor_id, measure, reason) (telltale_reading_fault{" + chosen + "})) or 0 * count(telltale_reading_timestamp_seconds{" + chosen + "})", "measures"}},
				},
				{
					kind: number, title: "Mean temperature", unit: "celsius", decimals: ptr(1.0), description: "Over all selected sensors. Normal: what the thermostat says.",
					queries: []query{{"avg(telltale_temperature_celsius{" + chosen + "})", "mean"}},
				},
				{
					kind: number, title: "Mean humidity", unit: "humidity", decimals: ptr(0.0), description: "Over all selected sensors. Normal: 30 to 60 % indoors.",
					queries: []query{{"100 * avg(telltale_relative_humidity_ratio{" + chosen + "})", "mean"}},
				},
			}},
			{"Measures by sensor", of},
			{"Measures by place", at},
			{"Freshness", []panel{
				{
					kind: table, title: "Freshness", unit: "s", runbook: "sensor-silent", height: 9,
					description: "Time since each sensor's latest reading, by place; a sensor that is silent stays for the selected time. Normal: green, less than twice the interval of sampling.",
					queries:     []query{{"sort_desc(" + ages + ")", ""}},
					columns:     []column{{of: "place_id", title: "Place"}, {of: "sensor_id", title: "Sensor"}, {of: "sensor_name", title: "Name"}, {of: "A", title: "Age", unit: "s", decimals: ptr(1.0), steps: ageSteps}},
				},
				{
					kind: timeline, title: "Freshness over time", unit: "s", runbook: "sensor-silent", height: 9, steps: ageSteps,
					description: "The age of each sensor's latest reading at each time. Normal: green all along; red across all sensors is the pipeline, red in one line is its device.",
					queries:     []query{{"time() - " + bySensor + "(telltale_reading_timestamp_seconds{" + chosen + "})", sensorLegend}},
				},
			}},
			{"Faults and stuck sensors", []panel{
				{
					kind: table, title: "Measures that fail now", unit: "short", runbook: "chip-fails",
					description: "What the latest reading of a sensor lacks, and why: the agent's README lists the reasons. Normal: empty.",
					queries:     []query{{"max by (place_id, sensor_id, measure, reason) (telltale_reading_fault{" + chosen + "})", ""}},
					columns:     []column{{of: "place_id", title: "Place"}, {of: "sensor_id", title: "Sensor"}, {of: "measure", title: "Measure"}, {of: "reason", title: "Reason"}, {of: "A", title: "Failing"}},
				},
				{
					kind: table, title: "Changes in 15 minutes", unit: "short", runbook: "sensor-stuck",
					description: "How often the value changed. Normal: at every reading or two, as the last digit of a working chip moves; light may stand at 0 in the dark. 0 of another measure is a stuck chip.",
					queries: []query{
						{changes("telltale_temperature_celsius"), ""}, {changes("telltale_relative_humidity_ratio"), ""},
						{changes("telltale_pressure_pascals"), ""}, {changes("telltale_illuminance_lux"), ""},
					},
					columns: []column{
						{of: "place_id", title: "Place"}, {of: "sensor_id", title: "Sensor"},
						{of: "A", title: "Temperature", steps: stuckSteps}, {of: "B", title: "Humidity", steps: stuckSteps},
						{of: "C", title: "Pressure", steps: stuckSteps}, {of: "D", title: "Light"},
					},
				},
			}},
		},
	}
}

var stuckSteps = []step{{0, "red"}, {1, "yellow"}, {3, "green"}}

func changes(series string) string {
	return "max by (place_id, sensor_id) (changes(" + series + "{" + chosen + "}[15m]))"
}
