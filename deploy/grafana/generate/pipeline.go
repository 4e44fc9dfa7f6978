package main

// rate is the sum of a counter's rates, over the processes, by labels.
func rate(counter, by string) string {
	if by != "" {
		by = "by (" + by + ") "
	}
	return "sum " + by + "(rate(" + counter + "[$__rate_interval]))"
}

// quantile is of a histogram, over the processes.
func quantile(q, histogram string) string {
	return "histogram_quantile(" + q + ", sum by (le) (rate(" + histogram + "_bucket[$__rate_interval])))"
}

func quantiles(histogram string) []query {
	return []query{{quantile("0.5", histogram), "median"}, {quantile("0.95", histogram), "95 %"}, {quantile("0.99", histogram), "99 %"}}
}

// slow is the share of a histogram's readings that took more than a minute.
// Prometheus 3 writes the bucket's bound as 60.0.
func slow(histogram string) string {
	return `1 - sum(rate(` + histogram + `_bucket{le=~"60(\\.0)?"}[$__rate_interval])) / sum(rate(` + histogram + `_count[$__rate_interval]))`
}

func pipeline() board {
	return board{
		uid: "telltale-pipeline", title: "telltale · pipeline",
		description: "How readings flow from the devices to MongoDB and Prometheus, how long they take, and what waits where.",
		rows: []row{
			{"Now", []panel{
				{
					kind: number, title: "Stored", unit: "cps", decimals: ptr(1.0), description: "Readings a second that MongoDB stores for the first time. Normal: as many as the devices sample.",
					queries: []query{{rate("telltale_sink_frames_stored_total", ""), "stored"}},
				},
				{
					kind: number, title: "Latency, 99 %", unit: "s", runbook: "objectives", steps: []step{{0, "green"}, {10, "yellow"}, {60, "red"}},
					description: "99 of 100 readings took less from the chip to MongoDB. Normal: a few seconds; more for a while after an outage, as devices send what they held.",
					queries:     []query{{quantile("0.99", "telltale_sink_latency_seconds"), "99 %"}},
				},
				{
					kind: number, title: "Behind", unit: "s", runbook: "consumer-lag", steps: []step{{0, "green"}, {30, "yellow"}, {300, "red"}},
					description: "For how long the consumer group that is behind most has been, but for those of windows, which wait for an open window. Normal: 0, or seconds.",
					queries:     []query{{`max(telltale_kafka_group_lag_seconds{group!~"telltale-(aggregate|places)"})`, "behind"}},
				},
				{
					kind: number, title: "Unacknowledged", unit: "short", steps: []step{{0, "green"}, {500, "yellow"}, {5000, "red"}},
					description: "MQTT messages that Kafka does not have yet. Normal: near 0; it grows while Kafka is away.",
					queries:     []query{{"sum(telltale_bridge_unacknowledged)", "messages"}},
				},
				{
					kind: number, title: "In devices' buffers", unit: "short", description: "Readings that wait for their receipt. Normal: some seconds' worth for each device.",
					queries: []query{{"sum(max by (device) (telltale_device_buffer_frames))", "readings"}},
				},
				{
					kind: number, title: "Parts not ready", unit: "short", runbook: "role-not-ready", steps: []step{{0, "green"}, {1, "red"}},
					description: "Parts of ingest that wait for MQTT, Kafka or MongoDB, as /readyz says. Normal: 0.",
					queries:     []query{{"count(telltale_ingest_ready) - sum(telltale_ingest_ready)", "parts"}},
				},
			}},
			{"Rates at each stage", []panel{
				{
					kind: lines, title: "Readings by stage", unit: "cps",
					description: "Readings a second as devices sample them, as the bridge takes them, as MongoDB stores them, as windows count them. Normal: the same everywhere; what is taken is more than what is sampled when a backlog returns or is sent again.",
					queries: []query{
						{"sum(max by (device) (rate(telltale_device_readings_total[$__rate_interval])))", "sampled"},
						{rate("telltale_bridge_frames_total", ""), "taken from MQTT"},
						{rate("telltale_sink_frames_stored_total", ""), "stored"},
						{rate(`telltale_aggregate_frames_total{outcome="counted"}`, ""), "in windows"},
					},
				},
				{
					kind: lines, title: "MQTT messages by source", unit: "cps", description: "Messages a second of devices, and of clients of the system before. Normal: steady; none from a source that is not in use.",
					queries: []query{{rate("telltale_bridge_messages_total", "source"), "{{source}}"}},
				},
				{
					kind: stacked, title: "Windows stored", unit: "cps", description: "Windows stored for the first time, and revised by late readings. Normal: as many sensors and places as there are, each interval; revisions after an outage.",
					queries: []query{{rate("telltale_aggregate_windows_stored_total", "by, kind"), "{{by}}, {{kind}}"}},
				},
				{
					kind: lines, title: "Receipts", unit: "cps", description: "Receipts sent to devices, and those that could not be: the device sends its readings again. Normal: none dropped.",
					queries: []query{
						{rate("telltale_bridge_receipts_total", ""), "sent"},
						{rate("telltale_bridge_receipts_dropped_total", ""), "dropped"},
					},
				},
			}},
			{"End-to-end latency", []panel{
				{
					kind: lines, title: "From the chip to Kafka", unit: "s", description: "Readings whose clock was known. Normal: below the agents' batch interval and a second.", queries: quantiles("telltale_bridge_latency_seconds"),
				},
				{
					kind: lines, title: "From the chip to MongoDB", unit: "s", runbook: "objectives", description: "Readings that were stored for the first time. Normal: a second more than to Kafka.", queries: quantiles("telltale_sink_latency_seconds"),
				},
				{
					kind: lines, title: "Slower than a minute", unit: "percentunit", runbook: "objectives", min: ptr(0.0),
					description: "Share of the readings that took more than a minute. Normal: 0; up to 1 when the backlog of an outage returns.",
					queries: []query{
						{slow("telltale_bridge_latency_seconds"), "to Kafka"},
						{slow("telltale_sink_latency_seconds"), "to MongoDB"},
					},
				},
				{
					kind: lines, title: "Window's end to its storage", unit: "s", description: "How long after its end a window is stored for the first time. Normal: the time for which late readings are waited for, and a little.",
					queries: quantiles("telltale_aggregate_window_delay_seconds"),
				},
				{
					kind: lines, title: "Kafka's acknowledgement", unit: "s", description: "Time until Kafka has acknowledged all of a batch, retries included. Normal: some milliseconds; seconds are a broker that is slow or changes its leader.",
					queries: quantiles("telltale_bridge_produce_duration_seconds"),
				},
				{
					kind: lines, title: "Open windows", unit: "short", description: "Windows in memory. Normal: one or two for each sensor and place; more while clocks are wrong or a backlog returns.",
					queries: []query{{"sum by (by) (telltale_aggregate_open_windows)", "by {{by}}"}},
				},
			}},
			{"Objectives", []panel{
				{
					kind: lines, title: "Readings that took too long", unit: "percentunit", runbook: "objectives", min: ptr(0.0),
					description: "Share of the readings that took longer than the objective allows, over an hour and over three days. Normal: below what the objective leaves.",
					queries:     []query{{"telltale:latency_bad:ratio_rate1h", "over 1 h"}, {"telltale:latency_bad:ratio_rate3d", "over 3 d"}},
				},
				{
					kind: lines, title: "Readings that are lost or missing", unit: "percentunit", runbook: "objectives", min: ptr(0.0),
					description: "Share of the readings that were declared lost or are missing, over an hour and over three days. Normal: 0.",
					queries:     []query{{"telltale:completeness_bad:ratio_rate1h", "over 1 h"}, {"telltale:completeness_bad:ratio_rate3d", "over 3 d"}},
				},
				{
					kind: table, title: "Alerts", unit: "short", width: gridWidth, height: 7,
					description: "Alerts of telltale that fire, or will if it goes on. Normal: empty. Each has a runbook.",
					queries:     []query{{`count by (alertname, severity, alertstate) (ALERTS{alertname=~"Telltale.+"})`, ""}},
					columns:     []column{{of: "alertname", title: "Alert"}, {of: "severity", title: "Severity"}, {of: "alertstate", title: "State"}, {of: "A", title: "Of so many"}},
				},
			}},
			{"Consumer lag", []panel{
				{
					kind: lines, title: "Lag by group", unit: "short", runbook: "consumer-lag", description: "Records after the offset that the group has committed. Normal: below a few seconds' worth, of aggregate and places up to a window's, a saw tooth; a line that grows is a group that is too slow or stands.",
					queries: []query{{"sum by (group) (max by (group, topic, partition) (telltale_kafka_group_lag_records))", "{{group}}"}},
				},
				{
					kind: lines, title: "Time behind by group", unit: "s", runbook: "consumer-lag", description: "For how long there has been a record that the group has not committed. Normal: less than half a minute; of aggregate and places up to a window and what it waits for.",
					queries: []query{{"max by (group) (telltale_kafka_group_lag_seconds)", "{{group}}"}},
				},
				{
					kind: lines, title: "Unread records by role", unit: "short", runbook: "consumer-lag", description: "Records after the last one that the role has read, whether or not it is committed. Normal: near 0.",
					queries: []query{
						{"sum(telltale_sink_lag_records)", "sink"},
						{"sum by (by) (telltale_aggregate_lag_records)", "aggregate by {{by}}"},
						{"sum(telltale_metrics_lag_records)", "metrics"},
					},
				},
				{
					kind: lines, title: "Remote write is behind", unit: "s", runbook: "remote-write", description: "Time since the newest sample that the receiver has taken. Normal: seconds; it grows while the receiver is away, and nothing is dropped.",
					queries: []query{{"min(time() - telltale_remote_write_newest_sample_timestamp_seconds > 0 < 1e9)", "remote write"}},
				},
			}},
			{"At the edge", []panel{
				{
					kind: lines, title: "Fullest buffers", unit: "percentunit", runbook: "buffer-filling", min: ptr(0.0), steps: []step{{0.8, "orange"}, {0.95, "red"}},
					description: "Share of the buffer that is in use, of the ten fullest. Normal: near 0. At 1 or soon after the oldest readings are dropped, and declared lost: the capacity is what there is room for at least.",
					queries:     []query{{"topk(10, max by (device) (telltale_device_buffer_used_bytes) / max by (device) (telltale_device_buffer_capacity_bytes))", "{{device}}"}},
				},
				{
					kind: lines, title: "Oldest reading in a buffer", unit: "s", runbook: "buffer-filling", description: "Of the ten devices that have waited longest for a receipt. Normal: seconds; it grows from the start of an outage on.",
					queries: []query{{"topk(10, time() - min by (device) (telltale_device_buffer_oldest_timestamp_seconds))", "{{device}}"}},
				},
				{
					kind: lines, title: "Readings in buffers", unit: "short", runbook: "buffer-filling", description: "Readings that wait in devices for their receipt; in memory are those that a failing disk does not take. Normal: some seconds' worth, none in memory.",
					queries: []query{
						{"sum(max by (device) (telltale_device_buffer_frames))", "all"},
						{"sum(max by (device) (telltale_device_buffer_memory_frames))", "in memory"},
					},
				},
				{
					kind: lines, title: "Messages that Kafka does not have yet", unit: "short", description: "Taken from MQTT, by process. Normal: near 0.",
					queries: []query{{"sum by (instance) (telltale_bridge_unacknowledged)", "{{instance}}"}},
				},
				{
					kind: lines, title: "Throttled messages", unit: "cps", runbook: "device-throttled", width: gridWidth, description: "Messages of devices beyond their limits, which are not taken and come again. Normal: none, or some while a long backlog is sent. The bridge's log names the device.",
					queries: []query{{rate("telltale_bridge_throttled_total", "reason"), "{{reason}}"}},
				},
			}},
			{"Retries", []panel{
				{
					kind: lines, title: "Kafka: consumers", unit: "cps", runbook: "retries", description: "Attempts to join, fetch or commit that failed and are made again. Normal: none; some at a restart of a broker.",
					queries: []query{{rate("telltale_kafka_consumer_retries_total", "group, reason"), "{{group}}, {{reason}}"}},
				},
				{
					kind: lines, title: "Kafka: producers", unit: "cps", runbook: "retries", description: "Requests that failed and are sent again, of the bridge and of the roles. Normal: none; some at a change of leader.",
					queries: []query{
						{rate("telltale_bridge_produce_retries_total", "reason"), "bridge, {{reason}}"},
						{rate("telltale_kafka_producer_retries_total", "role, reason"), "{{role}}, {{reason}}"},
					},
				},
				{
					kind: lines, title: "MongoDB", unit: "cps", runbook: "retries", description: "What failed, by reason, and what is tried again, by operation. Normal: none; some while the database elects a primary.",
					queries: []query{
						{rate("telltale_mongo_failures_total", "reason"), "failed, {{reason}}"},
						{rate("telltale_sink_retries_total", "operation"), "sink, {{operation}}"},
						{rate("telltale_aggregate_retries_total", "operation"), "aggregate, {{operation}}"},
					},
				},
				{
					kind: lines, title: "Remote write", unit: "cps", runbook: "remote-write", description: "Requests that are sent again, by reason. Normal: none.",
					queries: []query{{rate("telltale_remote_write_retries_total", "reason"), "{{reason}}"}},
				},
				{
					kind: lines, title: "MQTT connections", unit: "short", description: "Connections of ingest to the broker that stand. Normal: all that there are, steady.",
					queries: []query{{"sum by (client) (telltale_mqtt_connected)", "{{client}}"}},
				},
				{
					kind: lines, title: "MQTT failures", unit: "cps", runbook: "role-not-ready", description: "Connections that were lost, and attempts that failed. Normal: none.",
					queries: []query{
						{rate("telltale_mqtt_connections_lost_total", "client"), "lost, {{client}}"},
						{rate("telltale_mqtt_connect_failures_total", "client"), "failed, {{client}}"},
					},
				},
			}},
			{"Certificates", []panel{
				{
					kind: bars, title: "Days until ingest's certificates end", unit: "d", width: gridWidth, runbook: "certificate", decimals: ptr(0.0), steps: certificateSteps,
					description: "By what they are for: with _ca the authority's, else ingest's own. Of several processes the one that ends first. Normal: more than 30. Absent for what is not used by TLS.",
					queries:     []query{{"(min by (use) (telltale_certificate_expiry_timestamp_seconds) - time()) / 86400", "{{use}}"}},
				},
			}},
		},
	}
}
