// Package web shows people and programs what Slipway knows: pages, a JSON API, live logs, metrics and health.
//
// It changes nothing but by taking requests for runs, which it hands in as deliveries like everyone else's. A Server is made once
// from the stores it looks into and gives three handlers, one per listener:
//
//   - Pages: the pages for browsers, with the JSON API under /api/v1/
//   - API: the JSON API alone, for the admin socket of a running server; it also tells causes meant for operators, and asks for no
//     tokens
//   - Metrics: /metrics, /healthz and /readyz
//
// A tour:
//
//   - web.go: Options, and the few things this package needs from its surroundings
//   - guard.go: what every request must pass and every answer has: methods, the Host header, deadlines, headers, errors
//   - lookup.go: runs, deliveries and logs out of the stores, in pages and bounded
//   - shape.go: the JSON shapes; pages are rendered from the same values
//   - api.go, pages.go, log.go, tail.go: the handlers
//   - request.go, await.go, callback.go: runs asked for by POST, waited for, and told of when they are over
//   - token.go, bearer.go: who may ask, and how that is known
//   - openapi.go, openapi.yaml: the description of the API, which every exchange in tests is compared with
//   - live.go: server-sent events (WHATWG HTML, section 9.2)
//   - view.go, graph.go, markdown.go, ansi.go: how values become safe HTML
//   - metrics.go, health.go: for the operator's monitoring
//   - observed.go, ratelimits.go: reports for the operator
//
// Nothing a repository, a log or a payload says is trusted: html/template escapes it, log lines and Markdown pass
// renderers that know no raw HTML, and the Content-Security-Policy allows no inline script or style at all.
package web
