package pipeline

import _ "embed"

//go:embed slipway.schema.json
var schema []byte

// Schema is the JSON Schema (draft 2020-12) of the pipeline file, generated from Document. It sees what has the wrong
// form; what can't be meant (unknown needs, faulty expressions, ungranted images) only Validate and Plan see.
func Schema() []byte { return append([]byte(nil), schema...) }
