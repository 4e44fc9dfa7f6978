package main

// ofDevice is a query of devices' statuses. Every process of the metrics role
// that shows the fleet shows all of it: the maximum over them is one of them.
func ofDevice(series, more string) string {
	if more != "" {
		more = ", " + more
	}
	return "max by (device" + more + ") (" + series + `{device=~"$device"})`
}

// The colours of a certificate's days; of fewer than 14 an alert tells.
var certificateSteps = []step{{0, "red"}, {14, "orange"}, {30, "green"}}

func fleet() board {
	bad := []step{{0, "green"}, {1, "red"}}
	online := []name{{"1", "online", "green"}, {"0", "offline", "red"}}
	clocks := []name{{"0", "synced", "green"}, {"1", "holdover", "yellow"}, {"2", "unsynced", "red"}}
	const clock = `sum by (device) (max by (device, state) (telltale_device_clock_state{device=~"$device",state="holdover"})) + 2 * sum by (device) (max by (device, state) (telltale_device_clock_state{device=~"$device",state="unsynced"}))`
	return board{
		uid: "telltale-fleet", title: "telltale · fleet",
		description: "What the devices say of themselves in their statuses, which the MQTT broker retains.",
		variables:   []variable{{"device", "Device", "The devices whose status is known", "telltale_device_info", "device"}},
		rows: []row{
			{"Now", []panel{
				{
					kind: number, title: "Devices", unit: "short", description: "Devices whose status is known. Normal: all that were provisioned.",
					queries: []query{{"count(" + ofDevice("telltale_device_info", "") + ")", "devices"}},
				},
				{
					kind: number, title: "Online", unit: "short", description: "Devices that are connected. Normal: all.",
					queries: []query{{"sum(" + ofDevice("telltale_device_online", "") + ")", "online"}},
				},
				{
					kind: number, title: "Offline", unit: "short", runbook: "device-offline", steps: bad, description: "Devices that have gone, with a farewell or without. Normal: 0.",
					queries: []query{{"count(" + ofDevice("telltale_device_online", "") + ") - sum(" + ofDevice("telltale_device_online", "") + ")", "offline"}},
				},
				{
					kind: number, title: "Clocks not synchronised", unit: "short", runbook: "clock", steps: bad, description: "Devices whose clock is in holdover or was never set. Normal: 0. Their readings wait in the buffer for the time.",
					queries: []query{{"sum(" + `max by (device, state) (telltale_device_clock_state{device=~"$device",state!="synced"})` + ")", "clocks"}},
				},
				{
					kind: number, title: "Chips that fail", unit: "short", runbook: "chip-fails", steps: bad, description: "Chips whose latest reading failed. Normal: 0.",
					queries: []query{{"count(" + ofDevice("telltale_device_chip_fault", "chip") + ") or 0 * count(" + ofDevice("telltale_device_info", "") + ")", "chips"}},
				},
				{
					kind: number, title: "Failing disks", unit: "short", runbook: "disk-fails", steps: bad, description: "Devices whose disk does not take readings, so that they are in memory. Normal: 0.",
					queries: []query{{"count(" + ofDevice("telltale_device_buffer_fault", "") + ") or 0 * count(" + ofDevice("telltale_device_info", "") + ")", "disks"}},
				},
			}},
			{"Who is there", []panel{
				{
					kind: timeline, title: "Online over time", unit: "short", runbook: "device-offline", names: online, description: "Normal: green all along. All at once offline is the broker or the network; one alone is its device.",
					queries: []query{{ofDevice("telltale_device_online", ""), "{{device}}"}},
				},
				{
					kind: timeline, title: "Clocks", unit: "short", runbook: "clock", names: clocks, description: "How far a device's clock is to be believed. Normal: synced; holdover for a while when the time servers are away.",
					queries: []query{{clock, "{{device}}"}},
				},
				{
					kind: bars, title: "Versions", unit: "short", height: 5, description: "Devices by the agent's version. Normal: one version, or two during an upgrade.",
					queries: []query{{"count by (version) (" + ofDevice("telltale_device_info", "version") + ")", "{{version}}"}},
				},
				{
					kind: bars, title: "Clocks by state", unit: "short", height: 5, description: "Devices by their clock's state. Normal: all synced.",
					queries: []query{{"sum by (state) (" + ofDevice("telltale_device_clock_state", "state") + ")", "{{state}}"}},
				},
			}},
			{"Devices", []panel{
				{
					kind: table, title: "Each device", unit: "short", width: gridWidth, height: 10, description: "One line for each device; of one that is offline there is but the age of its status. Normal: up for days, the status some minutes old at most, a buffer that is nearly empty.",
					queries: []query{
						{ofDevice("telltale_device_info", "version") + " * on (device) group_left " + ofDevice("telltale_device_uptime_seconds", ""), ""},
						{"time() - " + ofDevice("telltale_device_status_timestamp_seconds", ""), ""},
						{ofDevice("telltale_device_buffer_frames", ""), ""},
						{ofDevice("telltale_device_buffer_size_bytes", ""), ""},
						{ofDevice("telltale_device_buffer_used_bytes", "") + " / " + ofDevice("telltale_device_buffer_capacity_bytes", ""), ""},
						{"sum by (device) (" + ofDevice("telltale_device_readings_lost_total", "reason") + ")", ""},
					},
					columns: []column{
						{of: "device", title: "Device"}, {of: "version", title: "Version"}, {of: "A", title: "Up for", unit: "s"},
						{of: "B", title: "Status is old", unit: "s", decimals: ptr(0.0), steps: []step{{0, "green"}, {600, "yellow"}, {3600, "red"}}},
						{of: "C", title: "Readings in buffer"}, {of: "D", title: "Buffer", unit: "bytes"},
						{of: "E", title: "Buffer used", unit: "percentunit", decimals: ptr(1.0), steps: []step{{0, "green"}, {0.5, "yellow"}, {0.9, "red"}}},
						{of: "F", title: "Lost since start", steps: bad},
					},
				},
			}},
			{"Chips and disks", []panel{
				{
					kind: table, title: "Failing chips", unit: "short", runbook: "chip-fails", description: "Chips whose latest reading failed, and why: the agent's README lists the reasons. Normal: empty.",
					queries: []query{{ofDevice("telltale_device_chip_fault", "driver, chip, reason"), ""}},
					columns: []column{{of: "device", title: "Device"}, {of: "driver", title: "Driver"}, {of: "chip", title: "Chip"}, {of: "reason", title: "Reason"}, {of: "A", title: "Failing"}},
				},
				{
					kind: lines, title: "Faults by driver and reason", unit: "short", runbook: "chip-fails", description: "Chips that fail, over time. Normal: none. One reason at many devices is a bad driver or version, at one device its wires.",
					queries: []query{{"count by (driver, reason) (" + ofDevice("telltale_device_chip_fault", "driver, chip, reason") + ")", "{{driver}}, {{reason}}"}},
				},
			}},
			{"Buffers and rates", []panel{
				{
					kind: lines, title: "Readings in the buffer", unit: "short", runbook: "buffer-filling", description: "Of the twenty fullest. Normal: near 0; a slope from the start of an outage on.",
					queries: []query{{"topk(20, " + ofDevice("telltale_device_buffer_frames", "") + ")", "{{device}}"}},
				},
				{
					kind: lines, title: "Readings sampled", unit: "cps", description: "By device. Normal: steady, its sensors by its interval.",
					queries: []query{{`max by (device) (rate(telltale_device_readings_total{device=~"$device"}[$__rate_interval]))`, "{{device}}"}},
				},
			}},
			{"Certificates and statuses", []panel{
				{
					kind: bars, title: "Days until a device's certificate ends", unit: "d", runbook: "certificate", decimals: ptr(0.0), steps: certificateSteps,
					description: "Of the twenty that end first. Normal: more than 30. Absent for devices without a certificate of their own.",
					queries:     []query{{"bottomk(20, (" + ofDevice("telltale_device_certificate_expiry_timestamp_seconds", "") + " - time()) / 86400)", "{{device}}"}},
				},
				{
					kind: lines, title: "Statuses", unit: "cps", runbook: "cap-reached", description: "Messages on the status topics, and those that are refused, by reason. Normal: none refused.",
					queries: []query{
						{rate("telltale_fleet_statuses_total", ""), "all"},
						{rate("telltale_fleet_statuses_refused_total", "reason"), "refused, {{reason}}"},
					},
				},
			}},
		},
	}
}
