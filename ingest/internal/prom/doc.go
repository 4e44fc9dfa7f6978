// Package prom shows the latest reading of every sensor to Prometheus, in
// Prometheus' base units. A sensor has one series for each measure; the series
// of a sensor whose newest reading is too old disappears from the scrape, so
// that Prometheus marks it stale, and the number of sensors is capped.
package prom
