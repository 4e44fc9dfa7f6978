// Package config is the agent's configuration: the types that the rest of the
// agent is given, their defaults, and every rule that a configuration must
// keep. firmware-config/agent.yaml describes the settings to the user, and
// firmware-config/agent.schema.json to editors; tests hold the three together.
//
// What a configuration is read from, and how its errors look, is the matter of
// package settings.
package config
