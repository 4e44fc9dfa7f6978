package main

// over is what a counter grew by in the selected time, over the processes. One
// that has come in that time had no value to grow from: it grew by all it has.
func over(counter, by string) string {
	if by != "" {
		by = "by (" + by + ") "
	}
	return "sum " + by + "((" + counter + " unless " + counter + " offset $__range) or increase(" + counter + "[$__range]))"
}

// ofAll is a counter's sum over the processes, by labels.
func ofAll(counter, by string) string { return "sum by (" + by + ") (" + counter + ")" }

const sampledOver = "sum(max by (device) (increase(telltale_device_readings_total[$__range])))"

func ledger() board {
	bad := []step{{0, "green"}, {1, "red"}}
	return board{
		uid: "telltale-ledger", title: "telltale · loss ledger",
		description: "What became of every reading: sampled, stored, a duplicate, declared lost and why, or missing. Figures are of the selected time, as Prometheus saw the counters: exact ones are told by `telltale-ingest missing`.",
		rows: []row{
			{"In the selected time", []panel{
				{
					kind: number, title: "Sampled", unit: "none", decimals: ptr(0.0), description: "Readings that the devices sampled, as their statuses say. Normal: devices × time / interval.",
					queries: []query{{sampledOver, "sampled"}},
				},
				{
					kind: number, title: "Stored", unit: "none", decimals: ptr(0.0), description: "Readings that MongoDB has stored for the first time. Normal: as many as were sampled, but for those under way.",
					queries: []query{{over("telltale_sink_frames_stored_total", ""), "stored"}},
				},
				{
					kind: number, title: "Declared lost", unit: "none", runbook: "readings-lost", decimals: ptr(0.0), steps: bad, description: "Readings of which the record says why they are missing. Normal: 0.",
					queries: []query{{over("telltale_readings_lost_total", ""), "lost"}},
				},
				{
					kind: number, title: "Missing", unit: "none", runbook: "window-incomplete", decimals: ptr(0.0), steps: bad, description: "Readings that windows were stored without and nothing explains, less those that came or were declared lost since. Normal: 0; above it while an outage's backlog returns, below it thereafter.",
					queries: []query{{over("telltale_aggregate_readings_missing_total", "") + " - " + over("telltale_aggregate_readings_resolved_total", ""), "missing"}},
				},
				{
					kind: number, title: "Refused", unit: "none", runbook: "dead-letters", decimals: ptr(0.0), steps: bad, description: "Messages and readings that the bridge has put into the dead-letter topic. Normal: 0.",
					queries: []query{{over("telltale_bridge_dead_letters_total", ""), "refused"}},
				},
				{
					kind: number, title: "Duplicates", unit: "none", decimals: ptr(0.0), description: "Readings that MongoDB had already; they change nothing. Normal: few; some after every restart and reconnection.",
					queries: []query{{over("telltale_sink_frames_duplicate_total", ""), "duplicates"}},
				},
			}},
			{"Sampled and stored", []panel{
				{
					kind: lines, title: "Sampled, stored, lost", unit: "cps", description: "Readings a second. Normal: stored follows sampled, lost is 0. In an outage stored falls to 0, after it stored is above sampled until the backlog is there.",
					queries: []query{
						{"sum(max by (device) (rate(telltale_device_readings_total[$__rate_interval])))", "sampled"},
						{rate("telltale_sink_frames_stored_total", ""), "stored"},
						{rate("telltale_readings_lost_total", ""), "declared lost"},
					},
				},
				{
					kind: lines, title: "On the way", unit: "short", description: "Readings in devices' buffers and records that the sink has not stored: what explains a difference between sampled and stored. Normal: some seconds' worth.",
					queries: []query{
						{"sum(max by (device) (telltale_device_buffer_frames))", "in buffers"},
						{`sum(max by (group, topic, partition) (telltale_kafka_group_lag_records{group=~".*sink"}))`, "in Kafka, not yet in MongoDB"},
					},
				},
			}},
			{"Lost, by reason", []panel{
				{
					kind: stacked, title: "Declared lost, by reason", unit: "cps", runbook: "readings-lost", description: "As MongoDB has it. buffer_full: an outage longer than the buffer; power_cut: sampled after the last commit; disk_error and corrupt: the card; refused_…: ingest did not take the reading. Normal: 0.",
					queries: []query{{rate("telltale_readings_lost_total", "reason"), "{{reason}}"}},
				},
				{
					kind: table, title: "Losses by device", unit: "none", runbook: "readings-lost", description: "Readings that each device has declared lost since its agent was started. Normal: empty.",
					queries: []query{{"max by (device, reason) (telltale_device_readings_lost_total) > 0", ""}},
					columns: []column{{of: "device", title: "Device"}, {of: "reason", title: "Reason"}, {of: "A", title: "Readings", steps: bad}},
				},
			}},
			{"Missing, by window", []panel{
				{
					kind: lines, title: "Missing and resolved", unit: "short", runbook: "window-incomplete", description: "Readings in the last minutes that windows were stored without, and those of them that came or were declared lost. Normal: 0; after an outage the second makes up for the first.",
					queries: []query{
						{"sum(increase(telltale_aggregate_readings_missing_total[$__rate_interval]))", "missing"},
						{"sum(increase(telltale_aggregate_readings_resolved_total[$__rate_interval]))", "resolved"},
					},
				},
				{
					kind: lines, title: "Incomplete windows", unit: "short", runbook: "window-incomplete", description: "Windows of sensors that were stored with readings missing, and those that were completed. Normal: 0.",
					queries: []query{
						{"sum(increase(telltale_aggregate_windows_incomplete_total[$__rate_interval]))", "incomplete"},
						{"sum(increase(telltale_aggregate_windows_completed_total[$__rate_interval]))", "completed"},
					},
				},
			}},
			{"Refused", []panel{
				{
					kind: lines, title: "Dead letters, by stage and reason", unit: "short", runbook: "dead-letters", description: "What could not be taken since the processes were started, and where. Normal: none, or a line that does not climb.",
					queries: []query{
						{ofAll("telltale_bridge_dead_letters_total", "reason"), "bridge, {{reason}}"},
						{ofAll("telltale_sink_dead_letters_total", "reason"), "sink, {{reason}}"},
						{ofAll("telltale_aggregate_dead_letters_total", "reason"), "aggregate, {{reason}}"},
					},
				},
				{
					kind: table, title: "Dead letters in the selected time", unit: "none", runbook: "dead-letters", description: "At the bridge, by reason. Normal: empty, or zeros.",
					queries: []query{{over("telltale_bridge_dead_letters_total", "reason"), ""}},
					columns: []column{{of: "reason", title: "Reason"}, {of: "A", title: "Messages", decimals: ptr(0.0), steps: bad}},
				},
			}},
			{"Twice, and late", []panel{
				{
					kind: lines, title: "Duplicates by stage", unit: "cps", description: "Readings that were there already, in MongoDB and in windows. Normal: none but after a restart or reconnection. They change nothing.",
					queries: []query{
						{rate("telltale_sink_frames_duplicate_total", ""), "sink"},
						{rate(`telltale_aggregate_frames_total{outcome="duplicate"}`, ""), "aggregate"},
					},
				},
				{
					kind: lines, title: "Late readings and revised windows", unit: "cps", description: "Readings that came after their window, and windows that were stored again. Normal: none but after an outage, or of a device whose clock is behind.",
					queries: []query{
						{rate("telltale_aggregate_late_frames_total", ""), "late readings"},
						{rate(`telltale_aggregate_windows_stored_total{kind="revised"}`, "by"), "revised, by {{by}}"},
					},
				},
			}},
		},
	}
}
