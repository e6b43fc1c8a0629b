package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

//go:embed assets templates
var files embed.FS

// assetSet are the files that pages load. Their names in addresses carry a hash, so that browsers may keep them for
// ever and still get the new ones after an update.
type assetSet struct {
	content map[string][]byte // by hashed name
	hashed  map[string]string // by plain name
}

func loadAssets() (assetSet, error) {
	set := assetSet{map[string][]byte{}, map[string]string{}}
	entries, err := fs.ReadDir(files, "assets")
	if err != nil {
		return set, fmt.Errorf("read assets: %w", err)
	}
	for _, e := range entries {
		content, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return set, fmt.Errorf("read assets: %w", err)
		}
		sum := sha256.Sum256(content)
		ext := path.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		set.content[name], set.hashed[e.Name()] = content, name
	}
	return set, nil
}

func (s *Server) asset(c echo.Context) error {
	name := c.Param("name")
	content, ok := s.assets.content[name]
	if !ok {
		return refuse(http.StatusNotFound, "There is no such file.")
	}
	c.Response().Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	return serveAsset(c, name, content)
}

func (s *Server) favicon(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "public, max-age=86400")
	return serveAsset(c, "favicon.svg", s.assets.content[s.assets.hashed["favicon.svg"]])
}

func serveAsset(c echo.Context, name string, content []byte) error {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	c.Response().Header().Set("Content-Type", kinds[path.Ext(name)])
	http.ServeContent(c.Response(), c.Request(), name, time.Time{}, bytes.NewReader(content))
	return nil
}

// parseTemplates reads each page's template together with the common ones.
func (s *Server) parseTemplates() (map[string]*template.Template, error) {
	common, err := template.New("layout.html").Funcs(s.functions()).ParseFS(files, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("parse templates: %w", err)
	}
	set := map[string]*template.Template{}
	for _, name := range []string{"runs", "run", "log", "deliveries", "delivery", "error"} {
		t, err := common.Clone()
		if err == nil {
			t, err = t.ParseFS(files, "templates/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("parse templates: %w", err)
		}
		set[name] = t
	}
	return set, nil
}
