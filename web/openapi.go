package web

import (
	_ "embed" // the description
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	"go.yaml.in/yaml/v4"
)

//go:embed openapi.yaml
var descriptionYAML []byte

// description is openapi.yaml as JSON.
func description() ([]byte, error) {
	var doc any
	if err := yaml.Unmarshal(descriptionYAML, &doc); err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml as JSON: %w", err)
	}
	return text, nil
}

func (a api) openAPI(c echo.Context) error { return c.JSONBlob(http.StatusOK, a.describes) }
