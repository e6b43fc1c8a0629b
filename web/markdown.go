package web

import (
	"bytes"
	"html/template"
	"net/url"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// maxColumns bounds tables: goldmark fills every row up to the header's width, so that a wide and long one takes far more
// memory than its text.
const maxColumns = 50

// newMarkdown returns a renderer of jobs' details (GitHub's Markdown with tables). HTML in it is shown, not obeyed;
// pictures become links, so that nothing is loaded from elsewhere; links lead only to http and https.
func newMarkdown() func(string) template.HTML {
	md := goldmark.New(
		goldmark.WithExtensions(
			// Aligned by attribute: our policy allows no style attributes.
			extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
			extension.Strikethrough, extension.Linkify,
		),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(strict{}, 100))),
	)
	return func(text string) template.HTML {
		var b bytes.Buffer
		if wide(text) || md.Convert([]byte(text), &b) != nil {
			return template.HTML("<pre>" + template.HTMLEscapeString(text) + "</pre>") // safe: escaped
		}
		return template.HTML(b.String()) // safe: goldmark escapes all but what strict renders
	}
}

func wide(text string) bool {
	return slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return strings.Count(line, "|") > maxColumns })
}

// strict renders the nodes that could reach beyond the text.
type strict struct{}

func (s strict) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindRawHTML, s.rawHTML)
	r.Register(ast.KindHTMLBlock, s.htmlBlock)
	r.Register(ast.KindLink, s.link)
	r.Register(ast.KindAutoLink, s.autoLink)
	r.Register(ast.KindImage, s.image)
	r.Register(ast.KindHeading, s.heading)
}

func (strict) rawHTML(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		segments := node.(*ast.RawHTML).Segments
		for i := range segments.Len() {
			segment := segments.At(i)
			_, _ = w.Write(util.EscapeHTML(segment.Value(source)))
		}
	}
	return ast.WalkSkipChildren, nil
}

func (strict) htmlBlock(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	block := node.(*ast.HTMLBlock)
	if entering {
		_, _ = w.WriteString("<pre>")
		for i := range block.Lines().Len() {
			line := block.Lines().At(i)
			_, _ = w.Write(util.EscapeHTML(line.Value(source)))
		}
		if block.HasClosure() {
			closure := block.ClosureLine
			_, _ = w.Write(util.EscapeHTML(closure.Value(source)))
		}
	} else {
		_, _ = w.WriteString("</pre>\n")
	}
	return ast.WalkContinue, nil
}

func (strict) link(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	anchor(w, node.(*ast.Link).Destination, entering)
	return ast.WalkContinue, nil
}

func (strict) autoLink(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	link := node.(*ast.AutoLink)
	destination := link.URL(source)
	anchor(w, destination, true)
	_, _ = w.Write(util.EscapeHTML(link.Label(source)))
	anchor(w, destination, false)
	return ast.WalkContinue, nil
}

// image renders a picture as a link with its description.
func (strict) image(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	anchor(w, node.(*ast.Image).Destination, entering)
	return ast.WalkContinue, nil
}

// heading keeps the page's own outline: details stand below a heading of the third level.
func (strict) heading(w util.BufWriter, _ []byte, _ ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		_, _ = w.WriteString("<h4>")
	} else {
		_, _ = w.WriteString("</h4>\n")
	}
	return ast.WalkContinue, nil
}

// anchor opens or closes a link. What leads nowhere sensible stays text, with the same element around it.
func anchor(w util.BufWriter, destination []byte, entering bool) {
	if !isWeb(string(destination)) {
		if entering {
			_, _ = w.WriteString("<span>")
		} else {
			_, _ = w.WriteString("</span>")
		}
		return
	}
	if !entering {
		_, _ = w.WriteString("</a>")
		return
	}
	_, _ = w.WriteString(`<a rel="noopener noreferrer nofollow" href="`)
	_, _ = w.Write(util.EscapeHTML(util.URLEscape(destination, true)))
	_, _ = w.WriteString(`">`)
}

// isWeb reports whether an address is one that a browser may be sent to.
func isWeb(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
