package fleet

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// LabelDevice is the label by which the series of a device are told.
const LabelDevice = "device"

// clockStates are the agent's; a word of a later one has a series as well.
var clockStates = []string{"synced", "holdover", "unsynced"}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{LabelDevice}, labels...), nil)
}

var (
	onlineDesc     = desc("telltale_device_online", "Whether the device's status says that it is online.")
	infoDesc       = desc("telltale_device_info", "Always 1; the version is the agent's.", "version")
	atDesc         = desc("telltale_device_status_timestamp_seconds", "Unix time of the device's latest status. Absent if the broker had kept it and it does not tell.")
	uptimeDesc     = desc("telltale_device_uptime_seconds", "How long the agent had run at its latest status.")
	readingsDesc   = desc("telltale_device_readings_total", "Readings that the agent has sampled since it was started.")
	lostDesc       = desc("telltale_device_readings_lost_total", "Readings that the agent has declared lost since it was started, by reason.", "reason")
	clockDesc      = desc("telltale_device_clock_state", "1 for the state that the device's clock is in, 0 for the others.", "state")
	expiresDesc    = desc("telltale_device_certificate_expiry_timestamp_seconds", "Unix time at which the device's certificate ends.")
	framesDesc     = desc("telltale_device_buffer_frames", "Readings that wait in the device's buffer for their receipt.")
	memoryDesc     = desc("telltale_device_buffer_memory_frames", "Of those, the ones that are in memory, as the disk fails.")
	sizeDesc       = desc("telltale_device_buffer_size_bytes", "All files of the device's buffer.")
	usedDesc       = desc("telltale_device_buffer_used_bytes", "Readings in the device's buffer that have no receipt.")
	capacityDesc   = desc("telltale_device_buffer_capacity_bytes", "For how many of those there is room at least before some are dropped.")
	oldestDesc     = desc("telltale_device_buffer_oldest_timestamp_seconds", "Unix time of the oldest reading in the device's buffer. Absent if there is none.")
	diskFaultDesc  = desc("telltale_device_buffer_fault", "Always 1; the reason is why readings of the device go to memory.", "reason")
	chipFaultDesc  = desc("telltale_device_chip_fault", "Always 1; one series for each chip whose latest reading failed, and why.", "driver", "chip", "reason")
	devicesDesc    = prometheus.NewDesc("telltale_fleet_devices", "Devices whose status is known.", nil, nil)
	maxDevicesDesc = prometheus.NewDesc("telltale_fleet_devices_limit", "Devices that are shown at most.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (f *Fleet) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		onlineDesc, infoDesc, atDesc, uptimeDesc, readingsDesc, lostDesc, clockDesc, expiresDesc, framesDesc, memoryDesc, sizeDesc,
		usedDesc, capacityDesc, oldestDesc, diskFaultDesc, chipFaultDesc, devicesDesc, maxDevicesDesc,
	} {
		descs <- d
	}
	f.statuses.Describe(descs)
	f.refused.Describe(descs)
}

// Collect implements [prometheus.Collector].
func (f *Fleet) Collect(metrics chan<- prometheus.Metric) {
	f.statuses.Collect(metrics)
	f.refused.Collect(metrics)
	f.mu.Lock()
	defer f.mu.Unlock()
	for device := range f.devices {
		d := f.devices[device]
		d.collect(device, metrics)
	}
	metrics <- prometheus.MustNewConstMetric(devicesDesc, prometheus.GaugeValue, float64(len(f.devices)))
	metrics <- prometheus.MustNewConstMetric(maxDevicesDesc, prometheus.GaugeValue, float64(f.options.MaxDevices))
}

func (k *known) collect(device string, metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{device}, labels...)...)
	}
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{device}, labels...)...)
	}
	gauge(onlineDesc, is(k.State == online))
	gauge(infoDesc, 1, k.Version)
	if k.at > 0 {
		gauge(atDesc, float64(k.at)/1e3)
	}
	if k.Expires > 0 {
		gauge(expiresDesc, float64(k.Expires))
	}
	if k.State != online { // the rest is what it was, and a will has none of it
		return
	}
	gauge(uptimeDesc, float64(k.Uptime))
	if k.Readings != nil {
		counter(readingsDesc, *k.Readings)
	}
	for _, reason := range LossReasons() {
		counter(lostDesc, k.Losses[reason], reason)
	}
	for reason, n := range k.Losses {
		if !slices.Contains(LossReasons(), reason) {
			counter(lostDesc, n, reason)
		}
	}
	if k.Clock != "" {
		other := true
		for _, state := range clockStates {
			gauge(clockDesc, is(state == k.Clock), state)
			other = other && state != k.Clock
		}
		if other {
			gauge(clockDesc, 1, k.Clock)
		}
	}
	for chip, reason := range k.Faults {
		gauge(chipFaultDesc, 1, driverOf(chip), chip, reason)
	}
	b := k.Buffer
	if b == nil {
		return
	}
	gauge(framesDesc, float64(b.Frames))
	gauge(memoryDesc, float64(b.Memory))
	gauge(sizeDesc, float64(b.Bytes))
	if b.Capacity > 0 {
		gauge(usedDesc, float64(b.Used))
		gauge(capacityDesc, float64(b.Capacity))
	}
	if b.Oldest > 0 {
		gauge(oldestDesc, float64(b.Oldest)/1e3)
	}
	if b.Fault != "" {
		gauge(diskFaultDesc, 1, b.Fault)
	}
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
