package main

// sys is a figure that Mosquitto publishes below $SYS/broker, as Telegraf hands
// it on.
func sys(topic string) string { return `mosquitto_sys{topic="` + topic + `"}` }

func sysRate(topic string) string { return "sum(rate(" + sys(topic) + "[$__rate_interval]))" }

// onHost restricts a series of the node exporter.
func onHost(series, more string) string {
	if more != "" {
		more = "," + more
	}
	return series + `{instance=~"$node"` + more + "}"
}

const (
	disks      = `fstype!~"tmpfs|ramfs|overlay|squashfs|nsfs|fuse.*|nfs.*|rootfs|devtmpfs"`
	interfaces = `device!~"veth.*|br-.*|docker.*|cni.*|podman.*|ifb.*"`
)

func perSecond(selector, by string) string {
	return "sum by (" + by + ") (rate(" + selector + "[$__rate_interval]))"
}

func platform() board {
	return board{
		uid: "telltale-platform", title: "telltale · platform",
		description: "What telltale runs on: Mosquitto, Kafka, MongoDB, Prometheus, the hosts and the containers.",
		variables:   []variable{{"node", "Host", "Where a node exporter runs", "node_uname_info", "instance"}},
		rows: []row{
			{"Now", []panel{
				{
					kind: number, title: "Targets that do not answer", unit: "short", steps: []step{{0, "green"}, {1, "red"}}, description: "What Prometheus cannot scrape. Normal: 0.",
					queries: []query{{"count(up) - sum(up)", "targets"}},
				},
				{
					kind: number, title: "MQTT clients", unit: "short", description: "Connected to Mosquitto. Normal: the devices that are online, and some of ingest and the exporter.",
					queries: []query{{"sum(" + sys("clients/connected") + ")", "clients"}},
				},
				{
					kind: number, title: "Records to Kafka", unit: "cps", decimals: ptr(1.0), description: "Over all topics. Normal: a little more than the readings sampled.",
					queries: []query{{"sum(rate(kafka_partition_latest_offset[$__rate_interval]))", "records"}},
				},
				{
					kind: number, title: "Documents", unit: "short", description: "In all databases of MongoDB. Normal: grows by what is sampled, up to the retention.",
					queries: []query{{"sum(mongodb_db_stats_objects)", "documents"}},
				},
				{
					kind: number, title: "Series in Prometheus", unit: "short", description: "Of the last hours. Normal: steady; a slope is a label with ever new values.",
					queries: []query{{"sum(prometheus_tsdb_head_series)", "series"}},
				},
				{
					kind: number, title: "Fullest disk", unit: "percentunit", decimals: ptr(0.0), steps: []step{{0, "green"}, {0.8, "yellow"}, {0.9, "red"}}, description: "Of all hosts. Normal: below 80 %.",
					queries: []query{{"max(1 - " + onHost("node_filesystem_avail_bytes", disks) + " / " + onHost("node_filesystem_size_bytes", disks) + ")", "used"}},
				},
			}},
			{"Mosquitto", []panel{
				{
					kind: lines, title: "Clients", unit: "short", description: "Normal: all connected, few disconnected: those are persistent sessions, of clients that are away.",
					queries: []query{{"sum(" + sys("clients/connected") + ")", "connected"}, {"sum(" + sys("clients/total") + ") - sum(" + sys("clients/connected") + ")", "disconnected, with a session"}},
				},
				{
					kind: lines, title: "MQTT packets", unit: "cps", description: "Normal: as many sent as received, and steady.",
					queries: []query{{sysRate("messages/received"), "received"}, {sysRate("messages/sent"), "sent"}},
				},
				{
					kind: lines, title: "MQTT traffic", unit: "Bps", description: "Normal: steady; peaks when backlogs return.",
					queries: []query{{sysRate("bytes/received"), "received"}, {sysRate("bytes/sent"), "sent"}},
				},
				{
					kind: lines, title: "Messages held", unit: "short", description: "Stored are messages that wait for a client, and retained ones. Normal: little more than what is retained; a slope is ingest that does not keep up.",
					queries: []query{{"sum(" + sys("store/messages/count") + ")", "stored"}, {"sum(" + sys("retained messages/count") + ")", "retained"}},
				},
				{
					kind: lines, title: "Messages dropped", unit: "cps", description: "For a client whose queue is full. Mosquitto tells only after the first. Normal: 0; the production configuration drops nothing below its limit of bytes.",
					queries: []query{{sysRate("publish/messages/dropped") + " or 0 * sum(" + sys("clients/connected") + ")", "dropped"}},
				},
				{
					kind: lines, title: "Mosquitto's memory", unit: "bytes", description: "Normal: some megabytes; it grows with what is held.",
					queries: []query{{"sum(" + sys("heap/current") + ")", "heap"}},
				},
			}},
			{"Kafka", []panel{
				{
					kind: lines, title: "Records written, by topic", unit: "cps", description: "Normal: iot-frames as the readings sampled; iot-dead-letter 0.",
					queries: []query{{"sum by (topic) (rate(kafka_partition_latest_offset[$__rate_interval]))", "{{topic}}"}},
				},
				{
					kind: lines, title: "Records retained, by topic", unit: "short", description: "From the oldest to the newest. Normal: grows until the retention is reached, steady thereafter.",
					queries: []query{{"sum by (topic) (kafka_partition_latest_offset - kafka_partition_earliest_offset)", "{{topic}}"}},
				},
				{
					kind: lines, title: "Lag by group, as the exporter has it", unit: "short", description: "From outside of ingest: seen also while ingest is down. Normal: below a few seconds' worth.",
					queries: []query{{"sum by (group) (kafka_consumergroup_group_sum_lag)", "{{group}}"}},
				},
				{
					kind: lines, title: "Records deleted before they were read", unit: "short", description: "By Kafka's retention, of those that a group had not read. Normal: 0; more is loss: lengthen the retention.",
					queries: []query{{"sum by (group) (kafka_consumergroup_group_messages_lost)", "{{group}}"}},
				},
			}},
			{"MongoDB", []panel{
				{
					kind: lines, title: "Operations", unit: "cps", description: "Normal: steady, in proportion to the readings; queries are those of people.",
					queries: []query{
						{"sum(rate(mongodb_inserts[$__rate_interval]))", "insert"}, {"sum(rate(mongodb_updates[$__rate_interval]))", "update"},
						{"sum(rate(mongodb_deletes[$__rate_interval]))", "delete"}, {"sum(rate(mongodb_queries[$__rate_interval]))", "query"},
						{"sum(rate(mongodb_getmores[$__rate_interval]))", "getmore"}, {"sum(rate(mongodb_commands[$__rate_interval]))", "command"},
					},
				},
				{
					kind: lines, title: "Latency", unit: "µs", description: "Mean of the commands of each kind. Normal: below some milliseconds; a disk that is slow shows in writes first.",
					queries: []query{
						{"sum(rate(mongodb_latency_reads[$__rate_interval])) / sum(rate(mongodb_latency_reads_count[$__rate_interval]))", "reads"},
						{"sum(rate(mongodb_latency_writes[$__rate_interval])) / sum(rate(mongodb_latency_writes_count[$__rate_interval]))", "writes"},
						{"sum(rate(mongodb_latency_commands[$__rate_interval])) / sum(rate(mongodb_latency_commands_count[$__rate_interval]))", "commands"},
					},
				},
				{
					kind: lines, title: "Connections", unit: "short", description: "Normal: steady, some for each process of ingest; a slope is a client that leaks them.",
					queries: []query{{"sum by (hostname) (mongodb_connections_current)", "{{hostname}}"}},
				},
				{
					kind: lines, title: "Cache", unit: "percentunit", min: ptr(0.0), max: ptr(1.0), description: "Of WiredTiger, in use. Normal: up to 0.8; at 0.95 commands have to evict pages themselves.",
					queries: []query{{"max by (hostname) (mongodb_wtcache_current_bytes / mongodb_wtcache_max_bytes_configured)", "{{hostname}}"}},
				},
				{
					kind: stacked, title: "Data and indexes", unit: "bytes", description: "By database, before compression. Normal: grows by what is sampled, up to the retention.",
					queries: []query{
						{`sum by (db_name) (mongodb_db_stats_data_size{db_name!~"admin|config|local"})`, "{{db_name}}, data"},
						{`sum by (db_name) (mongodb_db_stats_index_size{db_name!~"admin|config|local"})`, "{{db_name}}, indexes"},
					},
				},
				{
					kind: bars, title: "Documents by collection", unit: "short", description: "Normal: iot_frames by far the most; iot_losses few.",
					queries: []query{{`sort_desc(sum by (collection) (mongodb_col_stats_count{db_name!~"admin|config|local"}))`, "{{collection}}"}},
				},
			}},
			{"Prometheus", []panel{
				{
					kind: lines, title: "Samples taken", unit: "cps", description: "Scraped and written remotely. Normal: steady; peaks of remote write when backlogs return.",
					queries: []query{{"sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "samples"}},
				},
				{
					kind: lines, title: "Duration of scrapes", unit: "s", description: "The longest of each job. Normal: below a second; it must stay below the job's timeout.",
					queries: []query{{"max by (job) (scrape_duration_seconds)", "{{job}}"}},
				},
				{
					kind: timeline, title: "Targets", unit: "short", names: []name{{"1", "up", "green"}, {"0", "down", "red"}}, description: "Whether each target of each job answers. Normal: green.",
					queries: []query{{"min by (job, instance) (up)", "{{job}} {{instance}}"}},
				},
				{
					kind: lines, title: "Failed queries of rules", unit: "cps", description: "Rules that Prometheus could not evaluate: alerts that cannot fire. Normal: 0.",
					queries: []query{{"sum(rate(prometheus_rule_evaluation_failures_total[$__rate_interval])) or 0 * sum(prometheus_tsdb_head_series)", "failed"}},
				},
			}},
			{"Hosts", []panel{
				{
					kind: lines, title: "Processors", unit: "percentunit", min: ptr(0.0), max: ptr(1.0), description: "Share that is busy. Normal: below 0.7.",
					queries: []query{{"1 - avg by (instance) (rate(" + onHost("node_cpu_seconds_total", `mode="idle"`) + "[$__rate_interval]))", "{{instance}}"}},
				},
				{
					kind: lines, title: "Memory", unit: "percentunit", min: ptr(0.0), max: ptr(1.0), description: "Share that is not available to programs. Normal: below 0.9.",
					queries: []query{{"1 - " + onHost("node_memory_MemAvailable_bytes", "") + " / " + onHost("node_memory_MemTotal_bytes", ""), "{{instance}}"}},
				},
				{
					kind: lines, title: "Disks", unit: "percentunit", min: ptr(0.0), max: ptr(1.0), steps: []step{{0.8, "orange"}, {0.9, "red"}}, description: "Share of each file system that is in use. Normal: below 0.8; Kafka and MongoDB stop at 1.",
					queries: []query{{"max by (instance, mountpoint) (1 - " + onHost("node_filesystem_avail_bytes", disks) + " / " + onHost("node_filesystem_size_bytes", disks) + ")", "{{instance}} {{mountpoint}}"}},
				},
				{
					kind: lines, title: "Disks' time", unit: "percentunit", min: ptr(0.0), description: "Share of the time in which a disk had work. Normal: below 0.5; near 1 every fsync waits.",
					queries: []query{{perSecond(onHost("node_disk_io_time_seconds_total", ""), "instance, device"), "{{instance}} {{device}}"}},
				},
				{
					kind: lines, title: "Network", unit: "Bps", description: "Normal: steady; peaks when backlogs return.",
					queries: []query{
						{perSecond(onHost("node_network_receive_bytes_total", interfaces), "instance, device"), "{{instance}} {{device}} received"},
						{perSecond(onHost("node_network_transmit_bytes_total", interfaces), "instance, device"), "{{instance}} {{device}} sent"},
					},
				},
				{
					kind: lines, title: "Load", unit: "short", description: "Tasks that run or wait for a disk, for each processor. Normal: below 1.",
					queries: []query{{"sum by (instance) (" + onHost("node_load1", "") + ") / count by (instance) (" + onHost("node_cpu_seconds_total", `mode="idle"`) + ")", "{{instance}}"}},
				},
			}},
			{"Containers", []panel{
				{
					kind: lines, title: "Processors by container", unit: "short", description: "Processors in use. Normal: ingest and its servers some tenths, by load.",
					queries: []query{{perSecond(`container_cpu_usage_seconds_total{name!=""}`, "name"), "{{name}}"}},
				},
				{
					kind: lines, title: "Memory by container", unit: "bytes", description: "The working set, by which the kernel judges. Normal: below the container's limit, and no slope.",
					queries: []query{{`sum by (name) (container_memory_working_set_bytes{name!=""})`, "{{name}}"}},
				},
				{
					kind: lines, title: "Network by container", unit: "Bps", description: "Received and sent, of containers with a network of their own. Normal: steady.",
					queries: []query{
						{perSecond(`container_network_receive_bytes_total{name!=""}`, "name"), "{{name}} received"},
						{perSecond(`container_network_transmit_bytes_total{name!=""}`, "name"), "{{name}} sent"},
					},
				},
				{
					kind: bars, title: "Containers are up for", unit: "s", description: "Normal: all since the last upgrade; a short one has restarted by itself.",
					queries: []query{{`time() - max by (name) (container_start_time_seconds{name!=""})`, "{{name}}"}},
				},
			}},
		},
	}
}
