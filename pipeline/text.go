package pipeline

import (
	"errors"
	"fmt"
	"strings"
)

// What encloses an expression in text.
const (
	exprOpen  = "${{"
	exprClose = "}}"
)

// maxExpression is the longest expression in bytes.
const maxExpression = 2000

// A segment is a piece of a text: as it stands, or an expression.
type segment struct {
	literal string
	expr    string // without ${{ }} and the blanks inside them
	offset  int    // of expr in the text, in bytes
	isExpr  bool
}

// splitText takes a text with ${{ }} apart. An expression ends at the }} that closes it: braces and quotes within it
// are CEL's own.
func splitText(text string) ([]segment, error) {
	var segments []segment
	for at := 0; at < len(text); {
		i := strings.Index(text[at:], exprOpen)
		if i < 0 {
			return append(segments, segment{literal: text[at:]}), nil
		}
		if i > 0 {
			segments = append(segments, segment{literal: text[at : at+i]})
		}
		begin := at + i + len(exprOpen)
		end, err := closing(text, begin)
		if err != nil {
			return nil, err
		}
		raw := text[begin:end]
		expr := strings.TrimSpace(raw)
		switch {
		case expr == "":
			return nil, errors.New("${{ }} is empty")
		case len(expr) > maxExpression:
			return nil, fmt.Errorf("the expression has %d bytes, more than %d", len(expr), maxExpression)
		}
		offset := begin + strings.Index(raw, expr)
		segments = append(segments, segment{expr: expr, offset: offset, isExpr: true})
		at = end + len(exprClose)
	}
	return segments, nil
}

// closing finds the }} of an expression that begins at from, past the braces and strings in it.
func closing(text string, from int) (int, error) {
	depth := 0
	for i := from; i < len(text); i++ {
		switch c := text[i]; c {
		case '{':
			depth++
		case '}':
			if depth > 0 {
				depth--
			} else if strings.HasPrefix(text[i:], exprClose) {
				return i, nil
			}
		case '"', '\'':
			raw := i > from && (text[i-1] == 'r' || text[i-1] == 'R')
			end := endOfString(text, i, raw)
			if end < 0 {
				return 0, fmt.Errorf("a string in the expression is never closed with %c", c)
			}
			i = end
		}
	}
	return 0, errors.New("${{ is never closed with }}")
}

// endOfString finds the last byte of the CEL string that begins at i, or -1.
func endOfString(text string, i int, raw bool) int {
	quote := text[i : i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(text[i:], triple) {
		quote = triple
	}
	for j := i + len(quote); j < len(text); j++ {
		switch {
		case text[j] == '\\' && !raw:
			j++
		case strings.HasPrefix(text[j:], quote):
			return j + len(quote) - 1
		}
	}
	return -1
}

// single returns the expression when the text is exactly one and nothing else; such a text keeps its type.
func single(segments []segment) (segment, bool) {
	if len(segments) == 1 && segments[0].isExpr {
		return segments[0], true
	}
	return segment{}, false
}

// condition turns an if, with or without ${{ }}, into its one expression.
func condition(text string) (segment, error) {
	if !strings.Contains(text, exprOpen) {
		expr := strings.TrimSpace(text)
		if len(expr) > maxExpression {
			return segment{}, fmt.Errorf("the expression has %d bytes, more than %d", len(expr), maxExpression)
		}
		return segment{expr: expr, offset: strings.Index(text, expr), isExpr: true}, nil
	}
	segments, err := splitText(strings.TrimSpace(text))
	if err != nil {
		return segment{}, err
	}
	one, ok := single(segments)
	if !ok {
		return segment{}, errors.New("must be one expression: write all of it within one ${{ }}, or without")
	}
	return one, nil
}
