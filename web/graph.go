package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// Measures of the job graph in pixels. Two layers fit a phone's width.
const (
	nodeWidth, nodeHeight = 140, 44
	layerGap, nodeGap     = 28, 12
	nameRunes             = 14
)

// graph is the drawing of a run's jobs: layers from left to right, each job right of what it needs.
type graph struct {
	Width, Height int
	Layers        int
	Nodes         []graphNode
	Edges         []graphEdge
	Label         string // for those who don't see it
}

type graphNode struct {
	Job  Job
	X, Y int
	Name string // cut to fit
}

type graphEdge struct {
	Path string // SVG path data
	Done bool   // what is needed is there
}

// layout places jobs. It is a small layered drawing: depth by the longest way, order by the mean of what is needed.
func layout(list []Job) graph {
	at := make(map[string]int, len(list))
	for i, j := range list {
		at[j.Name] = i
	}
	depth := depths(list, at)
	needs := ancestry(list, at, depth)
	layers := make([][]int, slices.Max(append(depth, 0))+1)
	for i := range list {
		layers[depth[i]] = append(layers[depth[i]], i)
	}
	place := make([]float64, len(list)) // within the layer
	tallest := 0
	for d, layer := range layers {
		if d > 0 {
			mean := func(i int) float64 {
				sum, n := 0.0, 0.0
				for _, need := range list[i].Needs {
					if k, ok := at[need]; ok {
						sum, n = sum+place[k], n+1
					}
				}
				return sum / max(n, 1)
			}
			slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(mean(a), mean(b)) })
		}
		for row, i := range layer {
			place[i] = float64(row) - float64(len(layer)-1)/2
		}
		tallest = max(tallest, len(layer))
	}
	g := graph{
		Width:  len(layers)*(nodeWidth+layerGap) - layerGap + 2,
		Height: tallest*(nodeHeight+nodeGap) - nodeGap + 2,
		Layers: len(layers),
	}
	x := func(i int) int { return 1 + depth[i]*(nodeWidth+layerGap) }
	y := func(i int) int {
		return 1 + int((place[i]+float64(tallest-1)/2)*(nodeHeight+nodeGap))
	}
	var said []string
	for i, j := range list {
		g.Nodes = append(g.Nodes, graphNode{Job: j, X: x(i), Y: y(i), Name: cutRunes(j.Name, nameRunes)})
		for _, need := range j.Needs {
			k, ok := at[need]
			if !ok || depth[k] >= depth[i] {
				continue
			}
			// An edge that others imply says nothing new, and would cross them.
			if slices.ContainsFunc(j.Needs, func(other string) bool { n, ok := at[other]; return ok && needs[n][k] }) {
				continue
			}
			x1, y1, x2, y2 := x(k)+nodeWidth, y(k)+nodeHeight/2, x(i), y(i)+nodeHeight/2
			g.Edges = append(g.Edges, graphEdge{
				Path: fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+layerGap/2, y1, x2-layerGap/2, y2, x2, y2),
				Done: list[k].State == jobs.JobSucceeded,
			})
		}
		if len(j.Needs) > 0 {
			said = append(said, j.Name+" needs "+strings.Join(j.Needs, ", "))
		}
	}
	g.Label = "Job graph"
	if len(said) > 0 && len(said) <= 10 {
		g.Label += ": " + strings.Join(said, "; ")
	}
	return g
}

// depths is the longest way to each job from one that needs nothing. A ring, which planning refuses, ends it too.
func depths(list []Job, at map[string]int) []int {
	depth := make([]int, len(list))
	for round, moved := 0, true; moved && round < len(list); round++ {
		moved = false
		for i, j := range list {
			for _, need := range j.Needs {
				if k, ok := at[need]; ok && depth[i] <= depth[k] && k != i && depth[k]+1 < len(list) {
					depth[i], moved = depth[k]+1, true
				}
			}
		}
	}
	return depth
}

// ancestry tells for each job which jobs it needs, directly or by way of others.
func ancestry(list []Job, at map[string]int, depth []int) [][]bool {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(depth[a], depth[b]) })
	needs := make([][]bool, len(list))
	for _, i := range order {
		needs[i] = make([]bool, len(list))
		for _, need := range list[i].Needs {
			if k, ok := at[need]; ok && depth[k] < depth[i] {
				needs[i][k] = true
				for n, yes := range needs[k] {
					needs[i][n] = needs[i][n] || yes
				}
			}
		}
	}
	return needs
}

func cutRunes(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
