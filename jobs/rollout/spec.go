package rollout

import (
	"bytes"
	"encoding/json"

	"github.com/slipway-ci/slipway/jobs"
)

// decode reads a deploy spec. Whole numbers stay whole: a template that prints a float writes 1000000 as 1e+06.
func decode(data []byte) (jobs.DeploySpec, error) {
	var spec jobs.DeploySpec
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(&spec); err != nil {
		return spec, err
	}
	for i := range spec.Helm {
		for key, value := range spec.Helm[i].Set {
			spec.Helm[i].Set[key] = plain(value)
		}
	}
	return spec, nil
}

func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = plain(v[key])
		}
	}
	return value
}
