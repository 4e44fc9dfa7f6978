// Package endpoint is a program's own HTTP endpoint: /metrics, /healthz and
// /readyz. So far it is the client that asks it for the command health.
package endpoint
