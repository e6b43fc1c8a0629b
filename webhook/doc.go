// Package webhook is where GitHub comes in: it accepts signed deliveries, making them durable before it answers, and
// decodes a stored delivery into an event.
//
// Accepting and decoding are far apart on purpose. Accepting looks at headers and bytes only, so that nothing a
// payload holds can keep it from being stored; decoding happens later, by the planner, as often as it likes.
package webhook
