package webhook

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
	"golang.org/x/net/html"
)

// rendered tells which lines of a comment stand in its running text.
type rendered struct {
	size     int          // bytes of the source
	lines    []int        // offset of each line in the source
	starts   map[int]bool // lines, from 0, that begin a line of running text
	comments [][2]int     // HTML comments within text, as offsets
}

// renderedLines reads a comment as GitHub does (GitHub Flavored Markdown with footnotes, then HTML) and finds the lines
// of paragraphs at the top of the document that are plain or emphasised text.
//
// HTML may open an element in one block and close it in another, so Markdown alone does not tell what a paragraph stands
// in. The tags of the whole document, in their order, are read as a browser reads them, with a tag of our own for each
// line in question.
func renderedLines(body string) rendered {
	// A tag with this character in its name is ours: the source has it no more.
	source := []byte(strings.ReplaceAll(body, ownMark, "\ufffd"))
	source = source[:readable(source)]
	r := rendered{size: len(body), starts: map[int]bool{}}
	for at := 0; ; {
		r.lines = append(r.lines, at)
		next := strings.IndexByte(body[at:], '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	w := tagWriter{rendered: &r, source: source}
	w.children(newMarkdownParser(true).Parse(text.NewReader(source)))
	w.resolve()
	return r
}

// newMarkdownParser reads what matters here of GitHub's Markdown. Not tables: they are recognised by their second line
// (the parser's own would make a cell for every column in every row, however short the row is).
func newMarkdownParser(inline bool) parser.Parser {
	options := []parser.Option{
		parser.WithBlockParsers(parser.DefaultBlockParsers()...),
		parser.WithBlockParsers(util.Prioritized(extension.NewFootnoteBlockParser(), 999)),
		parser.WithParagraphTransformers(parser.DefaultParagraphTransformers()...),
	}
	if inline {
		options = append(options,
			parser.WithInlineParsers(parser.DefaultInlineParsers()...),
			parser.WithInlineParsers(util.Prioritized(extension.NewFootnoteParser(), 101)),
			parser.WithInlineParsers(util.Prioritized(extension.NewStrikethroughParser(), 500)),
			parser.WithASTTransformers(util.Prioritized(extension.NewFootnoteASTTransformer(), 999)))
	}
	return parser.NewParser(options...)
}

// What takes the parser time that grows with the square of its length is not read: a stranger may write it.
const (
	maxParagraph = 8 << 10 // bytes of a paragraph, heading or the like
	maxNesting   = 100     // quotes and lists within each other that one line opens
)

// readable is how much of a comment is read: all before the first part that is too long or too deep.
func readable(source []byte) int {
	for at := 0; at < len(source); {
		line := source[at:]
		if next := bytes.IndexByte(line, '\n'); next >= 0 {
			line = line[:next+1]
		}
		if nesting(line) > maxNesting {
			source = source[:paragraphsEnd(string(source), at)]
			break
		}
		at += len(line)
	}
	size := len(source)
	// The walk has no errors but the function's.
	_ = ast.Walk(newMarkdownParser(false).Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering || n.Type() != ast.TypeBlock || n.IsRaw() || n.Lines().Len() == 0 {
			return ast.WalkContinue, nil
		}
		first, last := n.Lines().At(0), n.Lines().At(n.Lines().Len()-1)
		if last.Stop-first.Start > maxParagraph {
			size = min(size, paragraphsEnd(string(source), first.Start))
		}
		return ast.WalkContinue, nil
	})
	return size
}

// nesting counts the quotes and list items that a line begins with.
func nesting(line []byte) int {
	n := 0
	for {
		line = bytes.TrimLeft(line, " \t")
		rest := bytes.TrimLeft(line, "0123456789")
		digits := len(line) - len(rest)
		switch {
		case digits == 0 && bytes.HasPrefix(line, []byte(">")):
			line = line[1:]
		case len(rest) > 1 && unicode.IsSpace(rune(rest[1])) &&
			(digits == 0 && strings.IndexByte("-+*", rest[0]) >= 0 || digits > 0 && strings.IndexByte(".)", rest[0]) >= 0):
			line = rest[1:]
		default:
			return n
		}
		n++
	}
}

// ownMark can be in the name of a tag, and no entity can put it there.
const ownMark = "\ue000"

const (
	ownBlock = "b" + ownMark // an element that Markdown made, other than a paragraph
	ownLine  = "l" + ownMark // the start of a line of a paragraph
)

// A tagWriter writes what decides about lines as HTML: raw HTML as it stands, blocks of Markdown, and lines.
type tagWriter struct {
	*rendered
	source []byte
	out    bytes.Buffer
	marked []int // lines in the order of their tags
	table  int   // where a table begins in the paragraph at hand
}

func (w *tagWriter) children(n ast.Node) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		w.node(c)
	}
}

func (w *tagWriter) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.Paragraph:
		w.table = tableStart(n.Lines(), w.source)
		w.children(n)
	case *ast.Text:
		w.line(n)
	case *ast.HTMLBlock:
		w.raw(n.Lines())
		if n.HasClosure() {
			w.out.Write(escapeFiltered(n.ClosureLine.Value(w.source)))
		}
	case *ast.RawHTML:
		w.raw(n.Segments)
		first, last := n.Segments.At(0), n.Segments.At(n.Segments.Len()-1)
		if bytes.HasPrefix(w.source[first.Start:last.Stop], []byte("<!--")) {
			w.comments = append(w.comments, [2]int{first.Start, last.Stop})
		}
	default:
		if n.Type() != ast.TypeBlock {
			w.children(n)
			return
		}
		w.out.WriteString("<" + ownBlock + ">")
		w.children(n)
		w.out.WriteString("</" + ownBlock + ">")
	}
}

// line marks a text that begins a line of a paragraph at the top of the document.
func (w *tagWriter) line(n *ast.Text) {
	parent := n.Parent()
	for parent.Kind() == ast.KindEmphasis {
		parent = parent.Parent()
	}
	if parent.Kind() != ast.KindParagraph || parent.Parent().Kind() != ast.KindDocument || n.Segment.Start >= w.table {
		return
	}
	line, exact := slices.BinarySearch(w.lines, n.Segment.Start)
	if !exact {
		line--
	}
	before := w.source[w.lines[line]:n.Segment.Start]
	if len(before) <= 3 && len(bytes.Trim(before, " ")) == 0 {
		w.out.WriteString("<" + ownLine + ">")
		w.marked = append(w.marked, line)
	}
}

// delimiterRow is the second line of a table (GitHub Flavored Markdown, section "Tables"). Every line with a bar or colon
// that fits counts, whether or not its cells are as many as the line's before it.
var delimiterRow = regexp.MustCompile(`^[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\n?$`)

// tableStart is where a table begins in a paragraph, or beyond its end when it holds none.
func tableStart(lines *text.Segments, source []byte) int {
	for i := 1; i < lines.Len(); i++ {
		segment := lines.At(i)
		if line := segment.Value(source); bytes.ContainsAny(line, "|:") && delimiterRow.Match(line) {
			return lines.At(i - 1).Start
		}
	}
	return len(source) + 1
}

func (w *tagWriter) raw(segments *text.Segments) {
	for i := range segments.Len() {
		segment := segments.At(i)
		w.out.Write(escapeFiltered(segment.Value(w.source)))
	}
}

// filtered are the tags that GitHub shows as text (GitHub Flavored Markdown, section "Disallowed Raw HTML"), and one
// more that only browsers with scripts switched on treat in its own way.
var filtered = regexp.MustCompile(`(?i)<(/?(?:title|textarea|style|xmp|iframe|noembed|noframes|noscript|script|plaintext))\b`)

func escapeFiltered(raw []byte) []byte { return filtered.ReplaceAll(raw, []byte("&lt;$1")) }

// Elements whose text is not the comment's running text, or that GitHub drops with what they hold. Others, such as div
// and details, change nothing; void elements hold nothing.
var (
	closedElements = strings.Fields(`audio blockquote button caption code dd del dfn dl dt figcaption figure h1 h2 h3 h4 h5 h6
		kbd legend li math menu noscript object ol optgroup option picture pre q rp rt ruby s samp select strike summary svg
		table tbody td template tfoot th thead tr tt ul var video`)
	// Those of them that a browser opens again when an element around them ends (HTML, "list of active formatting elements").
	reopened = []string{"code", "s", "strike", "tt"}
)

// maxOpen bounds elements within each other. Beyond it, nothing more is taken for running text.
const maxOpen = 400

// resolve reads the tags and keeps the lines that are in none of the closed elements.
func (w *tagWriter) resolve() {
	var open []string
	tags := html.NewTokenizer(&w.out)
	for next := 0; ; {
		kind := tags.Next()
		switch kind {
		case html.ErrorToken:
			return
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
		default:
			continue
		}
		raw, _ := tags.TagName()
		name := string(raw)
		switch {
		case name == ownLine:
			if len(open) == 0 {
				w.starts[w.marked[next]] = true
			}
			next++
		case name != ownBlock && !slices.Contains(closedElements, name):
		case kind == html.EndTagToken:
			open = closeElement(open, name)
		case len(open) == maxOpen:
			return
		default:
			open = append(open, name)
		}
	}
}

// closeElement ends the innermost element of the name and those within it. HTML never ends an element of Markdown's.
func closeElement(open []string, name string) []string {
	for i := len(open) - 1; i >= 0; i-- {
		if open[i] == name {
			inner := slices.DeleteFunc(slices.Clone(open[i+1:]), func(n string) bool { return !slices.Contains(reopened, n) })
			return append(open[:i], inner...)
		}
		if open[i] == ownBlock {
			break
		}
	}
	return open
}

// visible is what follows the slash of a line, without the HTML comments in it.
func (r rendered) visible(line int, after string) string {
	end := r.size
	if line+1 < len(r.lines) {
		end = r.lines[line+1] - 1
	}
	begin := end - len(after)
	var b strings.Builder
	at := begin
	for _, c := range r.comments {
		if c[1] <= at || c[0] >= end {
			continue
		}
		b.WriteString(after[at-begin : max(c[0], at)-begin])
		at = min(c[1], end)
	}
	b.WriteString(after[at-begin:])
	return strings.TrimSpace(b.String())
}
