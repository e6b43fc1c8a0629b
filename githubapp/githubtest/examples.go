package githubtest

import (
	"encoding/json"
	"fmt"
	"sync"
)

// Example is one of the example payloads of the npm package @octokit/webhooks-examples.
type Example struct {
	Event  string          // as in X-GitHub-Event
	Action string          // empty for events without actions
	Body   json.RawMessage // compact JSON; many are older than today's schemas
}

// Examples returns all example payloads, in the order of the package.
func Examples() ([]Example, error) { return loadExamples() }

var loadExamples = sync.OnceValues(func() ([]Example, error) {
	raw, err := readPruned("examples")
	if err != nil {
		return nil, err
	}
	var examples []Example
	if err := json.Unmarshal(raw, &examples); err != nil {
		return nil, fmt.Errorf("decode the example payloads: %w", err)
	}
	return examples, nil
})
